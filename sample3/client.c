/* sample3/client.c - as sample2, but asleep when the RST comes: RST at 0 s, first read at 3 s.
 * Run ./sample3/server, then ./sample3/client in a second terminal; see server.c. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Returns what a system call has returned, but ends the program if that is -1: "CALL: REASON". */
static int check(int result, const char *call)
{
    if (result == -1 && (errno == EAGAIN || errno == EINPROGRESS))
        errno = ETIMEDOUT; /* for 5 s nothing has come: SO_RCVTIMEO, SO_SNDTIMEO */
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
    printf("%s.%06ld client %s\n", hms, now.tv_nsec / 1000, call);
    check(fflush(stdout), "stdout (it takes a line for every step)");
}

int main(int argc, char **argv)
{
    struct sockaddr_in self, address = { .sin_family = AF_INET, .sin_port = htons(8083),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof self;
    const struct timeval limit = { .tv_sec = 5 };
    char data[4], line[64];

    if (argc > 1)
        return fprintf(stderr, "%s: unexpected argument (usage: ./sample3/client)\n", argv[1]), 2;
    const int connection = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
    check(setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), "SO_SNDTIMEO");
    check(connect(connection, (const struct sockaddr *)&address, sizeof address),
          "connect 127.0.0.1:8083 (start ./sample3/server first)");
    check(getsockname(connection, (struct sockaddr *)&self, &length), "getsockname");
    snprintf(line, sizeof line, "connect 127.0.0.1:8083 from 127.0.0.1:%d", ntohs(self.sin_port));
    say(line);
    say("send 4 bytes \"ABCD\"");
    check((int)send(connection, "ABCD", 4, MSG_NOSIGNAL), "send (is that ./sample3/server?)");
    sleep(3); /* the RST comes meanwhile; Linux keeps "CDEF", which RFC 9293 3.10.7.4 would flush */
    errno = EPROTO; /* the reason, when recv does not fail but brings other bytes, or their end */
    check(recv(connection, data, 4, MSG_WAITALL) == 4 && memcmp(data, "CDEF", 4) == 0 ? 0 : -1,
          "recv, not \"CDEF\" (is that ./sample3/server?)");
    say("recv 4 bytes \"CDEF\"");
    errno = EPROTO;
    check(recv(connection, data, 1, 0) == -1 && errno == ECONNRESET ? 0 : -1,
          "recv, not ECONNRESET (the RST was lost, or that is not ./sample3/server)");
    say("recv ECONNRESET (Connection reset by peer)");
    say("close");
    check(close(connection), "close"); /* sends nothing: the connection is gone */
}
