/* sample1/server.c - answers "ABCD" with "CDEF"; both close(): FIN, ACK, FIN, ACK, four packets.
 * Run ./sample1/server, then ./sample1/client in a second terminal; see client.c. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int check(int result, const char *call); /* ends the program if a call has failed */
static ssize_t receive(int connection, char *data, size_t size);
static void say(const char *step);
static void say_unexpected(ssize_t received);

/* The conversation with one client, up to its end. */
static void converse(int connection)
{
    char data[4];
    ssize_t n = receive(connection, data, 4);

    if (n != 4 || memcmp(data, "ABCD", 4) != 0) {
        say_unexpected(n);
        return;
    }
    say("recv 4 bytes \"ABCD\"");
    say("send 4 bytes \"CDEF\"");
    if (send(connection, "CDEF", 4, MSG_NOSIGNAL) == -1) {
        perror("send"); /* the client is gone */
        return;
    }
    n = receive(connection, data, 1);
    if (n != 0) {
        say_unexpected(n);
        return;
    }
    say("recv 0 bytes (end of file)"); /* that was the client's FIN */
#ifdef TCP_QUICKACK
    /* Linux delays its ACK of that FIN for some 40 ms; our FIN, sent by close(), would carry it: a
     * close in three packets. This sends the ACK now, alone: four packets. */
    const int on = 1;
    say("setsockopt TCP_QUICKACK");
    check(setsockopt(connection, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on), "TCP_QUICKACK");
#endif
}

static void serve(int connection)
{
    converse(connection);
    say("close");
    check(close(connection), "close");
}

int main(int argc, char **argv)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(8081),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval limit = { .tv_sec = 5 };
    const int on = 1;

    if (argc > 1) {
        fprintf(stderr, "%s: unexpected argument (usage: ./sample1/server)\n", argv[1]);
        return 2;
    }
    /* If descriptor 1 is closed, socket() returns 1, and our lines would go to the client. */
    check(fcntl(STDOUT_FILENO, F_GETFD), "stdout (it takes a line for every step)");
    const int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
    check(bind(listener, (const struct sockaddr *)&address, sizeof address),
          "bind 127.0.0.1:8081 (if it is in use, ss -tanp shows by what)");
    /* SO_REUSEADDR lets two servers bind the port, but only the first one listen. */
    check(listen(listener, SOMAXCONN), "listen (has another server just begun?)");
    say("listen 127.0.0.1:8081");
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        char line[64];

        const int connection = check(accept(listener, (struct sockaddr *)&peer, &length), "accept");
        snprintf(line, sizeof line, "accept %s:%d", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port));
        say(line);
        check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
        serve(connection);
    }
}

/* Returns what a system call has returned, but ends the program if it failed: "CALL: REASON". */
static int check(int result, const char *call)
{
    if (result < 0) {
        perror(call);
        exit(EXIT_FAILURE);
    }
    return result;
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
    check(printf("%s.%06ld server %s\n", hms, now.tv_nsec / 1000, step), "stdout");
    check(fflush(stdout), "stdout (it takes a line for every step)");
}

/* Says what receive() has returned where something else was awaited. */
static void say_unexpected(ssize_t received)
{
    if (received > 0) {
        say("recv other bytes");
    } else if (received == 0) {
        say("recv 0 bytes (end of file)");
    } else {
        char line[64];
        snprintf(line, sizeof line, "recv: %s", strerror(errno));
        say(line);
    }
}
