/* sample3/client.c - as sample2, but asleep when the RST comes: RST at 0 s, first read at 3 s.
 * Run ./sample3/server, then ./sample3/client in a second terminal. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void check(ssize_t result, const char *call); /* ends the program if CALL failed */
static void say(const char *step);

int main(void)
{
    const struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(8083),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval limit = { .tv_sec = 5 }; /* two silent clients may come first */
    struct sockaddr_in self;
    socklen_t length = sizeof self;
    char line[64];
    char data[4];
    const int connection = socket(AF_INET, SOCK_STREAM, 0);

    check(connection, "socket");
    check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
    /* Sends SYN. Every ACK is sent by the kernels, not by a call. */
    check(connect(connection, (const struct sockaddr *)&server, sizeof server),
          "connect 127.0.0.1:8083 (start ./sample3/server first)");
    check(getsockname(connection, (struct sockaddr *)&self, &length), "getsockname");
    snprintf(line, sizeof line, "connect 127.0.0.1:8083 from 127.0.0.1:%d", ntohs(self.sin_port));
    say(line);

    say("send 4 bytes \"ABCD\"");
    check(send(connection, "ABCD", 4, MSG_NOSIGNAL), "send");
    sleep(3); /* RST comes meanwhile; Linux keeps "CDEF", RFC 9293 3.10.7.4 would flush it */
    ssize_t n = recv(connection, data, 4, MSG_WAITALL);
    check(n, "recv, not \"CDEF\" in 5 s (is that ./sample3/server?)");
    if (n != 4 || memcmp(data, "CDEF", 4) != 0) {
        fprintf(stderr, "recv %zd of 4 bytes, not \"CDEF\" (is that ./sample3/server?)\n", n);
        return EXIT_FAILURE;
    }
    say("recv 4 bytes \"CDEF\"");
    n = recv(connection, data, 1, 0); /* 0 would mean FIN; -1 and ECONNRESET mean RST */
    if (n != -1) {
        fprintf(stderr, "recv returned %zd, not ECONNRESET\n", n);
        return EXIT_FAILURE;
    }
    if (errno != ECONNRESET) {
        perror("recv, not ECONNRESET in 5 s (was the RST lost?)");
        return EXIT_FAILURE;
    }
    say("recv ECONNRESET (Connection reset by peer)");
    say("close");
    check(close(connection), "close"); /* sends nothing after RST */
    return EXIT_SUCCESS;
}

static void check(ssize_t result, const char *call)
{
    if (result < 0) {
        perror(call);
        exit(EXIT_FAILURE);
    }
}

/* Prints a step and its time. send(), close(): before the call; others: after it. */
static void say(const char *step)
{
    struct timespec now;
    struct tm local;
    char hms[sizeof "HH:MM:SS"];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(hms, sizeof hms, "%H:%M:%S", &local);
    check(printf("%s.%06ld client %s\n", hms, now.tv_nsec / 1000, step), "stdout");
    check(fflush(stdout), "stdout");
}
