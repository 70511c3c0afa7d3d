/* sample1/client.c - sends "ABCD", reads "CDEF", closes first: its FIN begins FIN, ACK, FIN, ACK.
 * Run ./sample1/server, then ./sample1/client in a second terminal. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
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
    const struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(8081),
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
          "connect 127.0.0.1:8081 (start ./sample1/server first)");
    check(getsockname(connection, (struct sockaddr *)&self, &length), "getsockname");
    snprintf(line, sizeof line, "connect 127.0.0.1:8081 from 127.0.0.1:%d", ntohs(self.sin_port));
    say(line);

    say("send 4 bytes \"ABCD\"");
    check(send(connection, "ABCD", 4, MSG_NOSIGNAL), "send");
    ssize_t n = recv(connection, data, 4, MSG_WAITALL);
    check(n, "recv, not \"CDEF\" in 5 s (is that ./sample1/server?)");
    if (n != 4 || memcmp(data, "CDEF", 4) != 0) {
        fprintf(stderr, "recv %zd of 4 bytes, not \"CDEF\" (is that ./sample1/server?)\n", n);
        return EXIT_FAILURE;
    }
    say("recv 4 bytes \"CDEF\"");
    say("close");
    check(close(connection), "close"); /* sends the first FIN */
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
