/* Press autofocus over ZeroMQ:  cc zmq_button.c -lzmq -o zmq_button && ./zmq_button /run/afdaemon */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

static char answer[1 << 20];

int main(int argc, char **argv)
{
    char place[200], request[200];
    int size, is_focused = 0;
    void *context = zmq_ctx_new(), *control = zmq_socket(context, ZMQ_DEALER);

    if (argc != 2)
        return 2;
    snprintf(place, sizeof place, "ipc://%s/control.sock", argv[1]);
    zmq_connect(control, place);
    /* The id becomes the job's: never use one twice. */
    snprintf(request, sizeof request,
             "{\"jsonrpc\":\"2.0\",\"id\":\"c-%ld\",\"method\":\"autofocus.run\"}", (long)time(NULL));
    zmq_send(control, request, strlen(request), 0);
    size = zmq_recv(control, answer, sizeof answer - 1, 0); /* when the job has ended */
    if (size > 0) {
        answer[size < (int)sizeof answer ? size : (int)sizeof answer - 1] = 0;
        is_focused = strstr(answer, "\"converged\":true") != NULL;
        puts(is_focused ? "focused" : answer);
    }
    zmq_close(control);
    zmq_ctx_term(context);
    return is_focused ? 0 : 1;
}
