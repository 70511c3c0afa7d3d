/* sample1/client.c - sends "ABCD", reads "CDEF", closes first: its FIN begins FIN, ACK, FIN, ACK.
 * Run ./sample1/server, then ./sample1/client in a second terminal; see server.c. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NOT_CDEF "recv, not \"CDEF\" (is that ./sample1/server?)"

static int check(int result, const char *call); /* ends the program if a call has failed */
static void fail(const char *call, const char *reason); /* ends the program */
static ssize_t receive(int connection, char *data, size_t size);
static void say(const char *step);

/* The conversation with the server, and how it ends. */
static void converse(int connection)
{
    char data[4];

    say("send 4 bytes \"ABCD\"");
    if (send(connection, "ABCD", 4, MSG_NOSIGNAL) == -1)
        fail("send (is that this sample's server?)", strerror(errno));
    ssize_t n = receive(connection, data, 4);
    if (n == -1)
        fail(NOT_CDEF, strerror(errno));
    if (n == 0)
        fail(NOT_CDEF, "end of file");
    if (memcmp(data, "CDEF", 4) != 0)
        fail(NOT_CDEF, "other bytes");
    say("recv 4 bytes \"CDEF\"");
    say("close");
    check(close(connection), "close"); /* sends the first FIN */
}

int main(int argc, char **argv)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(8081),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval limit = { .tv_sec = 5 };
    struct sockaddr_in self;
    socklen_t length = sizeof self;
    char line[64];

    if (argc > 1) {
        fprintf(stderr, "%s: unexpected argument (usage: ./sample1/client)\n", argv[1]);
        return 2;
    }
    /* If descriptor 1 is closed, socket() returns 1, and our lines would go to the server. */
    check(fcntl(STDOUT_FILENO, F_GETFD), "stdout (it takes a line for every step)");
    const int connection = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
    check(setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), "SO_SNDTIMEO");
    if (connect(connection, (const struct sockaddr *)&address, sizeof address) == -1) {
        if (errno == EINPROGRESS)
            errno = ETIMEDOUT; /* for 5 s nothing has answered the SYN (SO_SNDTIMEO) */
        fail("connect 127.0.0.1:8081 (start ./sample1/server first)", strerror(errno));
    }
    check(getsockname(connection, (struct sockaddr *)&self, &length), "getsockname");
    snprintf(line, sizeof line, "connect 127.0.0.1:8081 from 127.0.0.1:%d", ntohs(self.sin_port));
    say(line);
    converse(connection);
}

/* Returns what a system call has returned, but ends the program if it failed. */
static int check(int result, const char *call)
{
    if (result < 0)
        fail(call, strerror(errno));
    return result;
}

/* Ends the program: "CALL: REASON". */
static void fail(const char *call, const char *reason)
{
    fprintf(stderr, "%s: %s\n", call, reason);
    exit(EXIT_FAILURE);
}

/* Receives SIZE bytes, in as many pieces as they come, and returns SIZE; 0 if the peer's FIN comes
 * first, -1 for an error: ETIMEDOUT if nothing has come for 5 s. With SO_RCVTIMEO Ctrl-Z and fg
 * interrupt recv() (EINTR); then it is called again. */
static ssize_t receive(int connection, char *data, size_t size)
{
    size_t have = 0;

    while (have < size) {
        const ssize_t n = recv(connection, data + have, size - have, 0);
        if (n > 0) {
            have += (size_t)n;
        } else if (n == 0) {
            return 0;
        } else if (errno == EAGAIN) {
            errno = ETIMEDOUT;
            return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)have;
}

/* Prints a step at once: before send() and close(), after any other call, so that these lines and
 * the packets sort by time. scripts/ read the lines of listen, accept and connect. */
static void say(const char *step)
{
    struct timespec now;
    struct tm local = { 0 };
    char hms[sizeof "HH:MM:SS"];

    check(clock_gettime(CLOCK_REALTIME, &now), "clock_gettime");
    localtime_r(&now.tv_sec, &local);
    strftime(hms, sizeof hms, "%H:%M:%S", &local);
    check(printf("%s.%06ld client %s\n", hms, now.tv_nsec / 1000, step), "stdout");
    check(fflush(stdout), "stdout (it takes a line for every step)");
}
