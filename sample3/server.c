/* sample3/server.c - as sample2, for a client that is asleep when the RST comes.
 * Run ./sample3/server, then ./sample3/client in a second terminal; see client.c. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Returns what a system call has returned, but ends the program if that is -1: "CALL: REASON". */
static int check(int result, const char *call)
{
    if (result == -1)
        perror(call), exit(EXIT_FAILURE);
    return result;
}

/* One line a step, at once: sends are announced, receipts reported, so lines and packets sort. */
static void say(const char *call)
{
    struct timespec now = { 0 };
    char hms[sizeof "HH:MM:SS"];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(hms, sizeof hms, "%H:%M:%S", localtime_r(&now.tv_sec, &(struct tm){ 0 }));
    printf("%s.%06ld server %s\n", hms, now.tv_nsec / 1000, call);
    check(fflush(stdout), "stdout (it takes a line for every step)");
}

int main(int argc, char **argv)
{
    struct sockaddr_in peer, address = { .sin_family = AF_INET, .sin_port = htons(8083),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof peer;
    const struct timeval limit = { .tv_sec = 5 };
    const int on = 1;

    if (argc > 1)
        return fprintf(stderr, "%s: unexpected argument (usage: ./sample3/server)\n", argv[1]), 2;
    const int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
    check(bind(listener, (const struct sockaddr *)&address, sizeof address),
          "bind 127.0.0.1:8083 (ss -tlnp shows who has it)");
    check(listen(listener, SOMAXCONN), "listen 127.0.0.1:8083 (ss -tlnp shows who has it)");
    say("listen 127.0.0.1:8083");
    for (;;) {
        char data[4], line[64];
        const int connection = check(accept(listener, (struct sockaddr *)&peer, &length), "accept");
        snprintf(line, sizeof line, "accept 127.0.0.1:%d", ntohs(peer.sin_port));
        say(line);
        check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
        const ssize_t n = recv(connection, data, 4, MSG_WAITALL);
        if (n == 4 && memcmp(data, "ABCD", 4) == 0) {
            say("recv 4 bytes \"ABCD\"");
            say("send 4 bytes \"CDEF\"");
            if (send(connection, "CDEF", 4, MSG_NOSIGNAL) == -1)
                perror("send"); /* the peer is gone; the next one is served */
            /* A RST now might overtake the client's ACK of "CDEF": wait until that has come. */
            struct pollfd gone = { .fd = connection };
            for (int ms = 0, left = 0; ms < 5000; ms++)
                if (ioctl(connection, TIOCOUTQ, &left) == -1 || left == 0 || poll(&gone, 1, 1) != 0)
                    break;
            /* With {1, 0} close() sends RST instead of FIN, and neither side keeps TIME-WAIT. */
            const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
            say("setsockopt SO_LINGER {1, 0}");
            check(setsockopt(connection, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), "SO_LINGER");
        } else
            say(n == -1 ? strerror(errno) : n ? "recv other bytes" : "recv 0 bytes (end of file)");
        say("close");
        check(close(connection), "close");
    }
}
