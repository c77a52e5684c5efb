// Press autofocus through the vendor door: VendorButton 127.0.0.1 60655 token.txt
using System;
using System.IO;
using System.Net.Sockets;
using System.Text;

class VendorButton
{
    static int Main(string[] args)
    {
        using var client = new TcpClient(args[0], int.Parse(args[1]));
        using var stream = client.GetStream();
        using var answers = new StreamReader(stream, Encoding.ASCII);
        using var commands = new StreamWriter(stream, Encoding.ASCII) { NewLine = "\r\n", AutoFlush = true };
        foreach (var command in new[] { "TOKEN " + File.ReadAllText(args[2]).Trim(), "AUTOFOCUS" })
        {
            commands.WriteLine(command);
            var answer = answers.ReadLine() ?? "the door has closed the connection";
            if (!answer.StartsWith("OK")) { Console.Error.WriteLine(answer); return 1; }
        }
        string? line;
        while ((line = answers.ReadLine()) != null && line.StartsWith("PROGRESS"))
            Console.WriteLine(line);  // into the status bar; an Abort button writes ABORT meanwhile
        Console.WriteLine(line);
        return line != null && line.StartsWith("FOCUSED") ? 0 : 1;
    }
}
