/* The least cost of fan-out: each line of a publisher goes to every client as one WebSocket frame,
   with one blocking send(). Usage: bare_send CLIENT_PORT PUBLISH_PORT */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_CLIENTS 20000
#define MAX_LINE 65535

/* Clients of this benchmark do not check the key. */
static const char ACCEPT[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Accept: unchecked\r\n\r\n";

static int clients[MAX_CLIENTS], count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    return fd;
}

static int accept_from(int listener) {
    int one = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) fail("accept");
    return fd;
}

static void welcome(int fd) {
    char request[4096];
    size_t size = 0;
    while (size < 4 || memcmp(request + size - 4, "\r\n\r\n", 4)) {
        ssize_t more = recv(fd, request + size, sizeof request - size, 0);
        if (more <= 0 || count == MAX_CLIENTS) fail("handshake");
        size += more;
    }
    if (send(fd, ACCEPT, sizeof ACCEPT - 1, 0) < 0) fail("handshake");
    clients[count++] = fd;
}

static void broadcast(const char *line, size_t size) {
    static unsigned char frame[4 + MAX_LINE];
    size_t head = size < 126 ? 2 : 4;
    frame[0] = 0x81; /* the only frame of a text message */
    frame[1] = size < 126 ? size : 126;
    if (head == 4) frame[2] = size >> 8, frame[3] = size & 255;
    memcpy(frame + head, line, size);
    for (int i = 0; i < count; i++)
        if (send(clients[i], frame, head + size, MSG_NOSIGNAL) < 0) clients[i--] = clients[--count];
}

int main(int argc, char **argv) {
    static char buffer[MAX_LINE];
    size_t size = 0;
    struct rlimit files = {MAX_CLIENTS, MAX_CLIENTS};
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc != 3) return 2;
    struct pollfd ready[3] = {{listen_on(atoi(argv[1])), POLLIN, 0},
                              {listen_on(atoi(argv[2])), POLLIN, 0},
                              {-1, POLLIN, 0}};
    puts("listening");
    fflush(stdout);
    while (poll(ready, 3, -1) > 0) {
        if (ready[0].revents) welcome(accept_from(ready[0].fd));
        if (ready[1].revents) ready[2].fd = accept_from(ready[1].fd);
        if (ready[2].revents) {
            ssize_t more = recv(ready[2].fd, buffer + size, sizeof buffer - size, 0);
            if (more <= 0) return 0; /* the publisher has gone */
            size += more;
            char *line = buffer, *end;
            while ((end = memchr(line, '\n', size - (line - buffer)))) {
                broadcast(line, end - line);
                line = end + 1;
            }
            size -= line - buffer;
            memmove(buffer, line, size);
        }
    }
    return 0;
}
