/* sample2/server.c - answers "ABCD" with "CDEF"; close() with SO_LINGER {1, 0}: RST, no FIN.
 * Run ./sample2/server, then ./sample2/client in a second terminal. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void serve(int connection);
static void check(ssize_t result, const char *call); /* ends the program if CALL failed */
static void say(const char *step);

int main(void)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(8082),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval limit = { .tv_sec = 2 }; /* a silent client makes the next one wait */
    const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    const int on = 1;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);

    check(listener, "socket");
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
    check(bind(listener, (const struct sockaddr *)&address, sizeof address),
          "bind 127.0.0.1:8082 (ss -tanp shows what uses it)");
    check(listen(listener, SOMAXCONN), "listen"); /* now the kernel answers each SYN */
    say("listen 127.0.0.1:8082");
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        char line[64];

        /* accept() sends nothing: the kernel has answered the SYN. */
        const int connection = accept(listener, (struct sockaddr *)&peer, &length);
        check(connection, "accept");
        snprintf(line, sizeof line, "accept %s:%d", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port));
        say(line);
        check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
        serve(connection);
        say("setsockopt SO_LINGER {1, 0}");
        /* Sends nothing, but makes close() send RST, not FIN, and leave no TIME-WAIT. */
        check(setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "SO_LINGER");
        say("close");
        check(close(connection), "close"); /* sends RST */
    }
}

/* Reads "ABCD", answers "CDEF". What a client does instead is printed on stderr. */
static void serve(int connection)
{
    char data[4];
    ssize_t n = recv(connection, data, 4, MSG_WAITALL);

    if (n == -1) {
        perror("recv, not \"ABCD\" in 2 s");
        return;
    }
    if (n != 4 || memcmp(data, "ABCD", 4) != 0) {
        fprintf(stderr, "recv %zd of 4 bytes, not \"ABCD\"\n", n);
        return;
    }
    say("recv 4 bytes \"ABCD\"");
    say("send 4 bytes \"CDEF\"");
    if (send(connection, "CDEF", 4, MSG_NOSIGNAL) == -1) {
        perror("send");
        return;
    }
    /* Wait, about 2 s at most, until the client's kernel has acknowledged "CDEF". Without that, RST
     * and ACK might cross, or the ACK never be sent: other packets from run to run. */
    struct pollfd client = { .fd = connection };
    for (int tries = 0; tries < 2000; tries++) {
        int unacknowledged; /* bytes */
        check(ioctl(connection, TIOCOUTQ, &unacknowledged), "TIOCOUTQ");
        if (unacknowledged == 0)
            break;
        check(poll(&client, 1, 1), "poll"); /* 1 ms, or until the client resets */
    }
}

static void check(ssize_t result, const char *call)
{
    if (result < 0) {
        perror(call);
        exit(EXIT_FAILURE);
    }
}

/* Prints a step and its time. send(), setsockopt(), close(): before the call; others: after it. */
static void say(const char *step)
{
    struct timespec now;
    struct tm local;
    char hms[sizeof "HH:MM:SS"];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(hms, sizeof hms, "%H:%M:%S", &local);
    check(printf("%s.%06ld server %s\n", hms, now.tv_nsec / 1000, step), "stdout");
    check(fflush(stdout), "stdout");
}
