"""Press autofocus through the vendor door, with nothing but a socket.

python vendor_button.py 127.0.0.1 60655 /path/of/the/token
"""

import socket
import sys
from pathlib import Path

host, port, token_file = sys.argv[1:]
line = socket.create_connection((host, int(port)), timeout=600)
answers = line.makefile("r", encoding="ascii")


def ask(text: str) -> str:
    """Send a line, and return the next one that comes."""
    line.sendall(text.encode("ascii") + b"\r\n")
    return answers.readline().strip()


for command in (f"TOKEN {Path(token_file).read_text().strip()}", "AUTOFOCUS"):
    answer = ask(command)
    if not answer.startswith("OK"):
        sys.exit(answer)
while (answer := answers.readline().strip()).startswith("PROGRESS"):
    print(answer.removeprefix("PROGRESS "))  # into the status bar
print(answer)
sys.exit(0 if answer.startswith("FOCUSED") else 1)
