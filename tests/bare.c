/* tests/bare.c - the least that has the packets of a sample: no line, no limit. For make bench.
 * usage: bare PORT           the server; 8081: four closing packets, any other: reset
 *        bare PORT ROUNDS    so many clients, without a pause
 * Exit status: 1 if a client was not answered, or if the server could not begin. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOUR_PACKETS 8081 /* the port of sample1 */

/* One conversation: returns 0, or -1 if it was not as it should be. */
static int converse(const struct sockaddr_in *address)
{
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    char data[4];

    if (connection == -1)
        return -1;
    if (connect(connection, (const struct sockaddr *)address, sizeof *address) == -1)
        return -1;
    if (send(connection, "ABCD", 4, MSG_NOSIGNAL) != 4)
        return -1;
    if (recv(connection, data, 4, MSG_WAITALL) != 4)
        return -1;
    if (memcmp(data, "CDEF", 4) != 0)
        return -1;
    if (ntohs(address->sin_port) != FOUR_PACKETS && recv(connection, data, 1, 0) != -1)
        return -1;
    return close(connection);
}

/* Serves one client after another; returns only if it cannot begin. */
static void serve(const struct sockaddr_in *address)
{
    const int four_packets = ntohs(address->sin_port) == FOUR_PACKETS;
    const struct linger reset = { .l_onoff = !four_packets, .l_linger = 0 };
    const int on = 1;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    char data[4];

    if (listener == -1)
        return;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1)
        return;
    if (setsockopt(listener, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == -1)
        return; /* (a connection inherits it) */
    if (bind(listener, (const struct sockaddr *)address, sizeof *address) == -1)
        return;
    if (listen(listener, SOMAXCONN) == -1)
        return;
    for (;;) {
        const int connection = accept(listener, NULL, NULL);
        if (connection == -1)
            continue;
        recv(connection, data, 4, 0);
        send(connection, "CDEF", 4, MSG_NOSIGNAL);
        if (four_packets) {
            recv(connection, data, 1, 0);
            setsockopt(connection, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        }
        close(connection);
    }
}

int main(int argc, char **argv)
{
    const unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    const unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    if (argc <= 2) {
        serve(&address);
        return 1;
    }
    for (unsigned long round = 0; round < rounds; round++) {
        if (converse(&address) == -1)
            return 1;
    }
    return 0;
}
