/* tests/bare.c - the least that has the packets of a sample: no line, no limit. For make bench.
 * usage: bare PORT           the server; 8081: four closing packets, any other: reset
 *        bare PORT ROUNDS    so many clients without a pause; exit status 1 if one was not answered */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const uint16_t port = argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0;
    const struct linger abort = { .l_onoff = port != 8081, .l_linger = 0 }; /* a connection inherits it */
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int on = 1;
    char data[4] = "";

    for (unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0; rounds > 0; rounds--) {
        const int connection = socket(AF_INET, SOCK_STREAM, 0);
        if (connection == -1 ||
            connect(connection, (const struct sockaddr *)&address, sizeof address) == -1 ||
            send(connection, "ABCD", 4, MSG_NOSIGNAL) != 4 || recv(connection, data, 4, MSG_WAITALL) != 4 ||
            memcmp(data, "CDEF", 4) != 0 || (port != 8081 && recv(connection, data, 1, 0) != -1))
            return 1;
        close(connection);
    }
    if (argc > 2)
        return 0;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener == -1 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        setsockopt(listener, SOL_SOCKET, SO_LINGER, &abort, sizeof abort) == -1 ||
        bind(listener, (const struct sockaddr *)&address, sizeof address) == -1 ||
        listen(listener, SOMAXCONN) == -1)
        return 1;
    for (;;) {
        const int connection = accept(listener, NULL, NULL);
        recv(connection, data, 4, 0);
        send(connection, "CDEF", 4, MSG_NOSIGNAL);
        if (port == 8081) {
            recv(connection, data, 1, 0);
            setsockopt(connection, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        }
        close(connection);
    }
}
