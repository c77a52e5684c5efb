/* What docs/examples/zmq_button.c uses of libzmq 4, for machines that have the library without its header. */
#pragma once
#include <stddef.h>
#define ZMQ_DEALER 5
void *zmq_ctx_new(void);
int zmq_ctx_term(void *context);
void *zmq_socket(void *context, int type);
int zmq_close(void *socket);
int zmq_connect(void *socket, const char *address);
int zmq_send(void *socket, const void *buffer, size_t size, int flags);
int zmq_recv(void *socket, void *buffer, size_t size, int flags);
