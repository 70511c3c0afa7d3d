/* sample2/client.c - the server resets the connection: after "CDEF" comes ECONNRESET.
 * Sends "ABCD", reads "CDEF", reads again and meets the RST; its own close() sends nothing.
 * Run ./sample2/server, then ./sample2/client in a second terminal; see server.c.
 * Exit status: 0 it went so, 1 it did not (stderr says why), 2 an argument was given. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#define SAMPLE "sample2"
#define PORT 8082
#define ADDRESS "127.0.0.1:8082"

/* One line on stderr: "WHAT: REASON (WAY_OUT)". */
static _Noreturn void die(int status, const char *what, const char *reason, const char *way_out)
{
    fprintf(stderr, "%s: %s (%s)\n", what, reason, way_out);
    exit(status);
}

/* One step, one line on stdout, at once: the time as tcpdump prints it, the role, the call.
 * A call that sends is announced, one that receives is reported: so lines and packets sort. */
__attribute__((format(printf, 1, 2))) static void say(const char *call, ...)
{
    struct timespec now = { 0 };
    struct tm local;
    char hms[sizeof "HH:MM:SS"];
    va_list outcome;

    clock_gettime(CLOCK_REALTIME, &now);
    strftime(hms, sizeof hms, "%H:%M:%S", localtime_r(&now.tv_sec, &local));
    printf("%s.%06ld client ", hms, now.tv_nsec / 1000);
    va_start(outcome, call);
    vprintf(call, outcome);
    va_end(outcome);
    if (putchar('\n') == EOF || fflush(stdout) == EOF)
        die(1, "stdout", strerror(errno), "it takes a line for every step");
}

/* What receive() returned, in words. */
static const char *why(int end)
{
    return end == 0 ? "other bytes" : end == EOF ? "0 bytes (end of file)"
         : end == ECONNRESET ? "ECONNRESET (Connection reset by peer)"
         : end == EAGAIN ? "nothing for 5 s, given up" : strerror(end);
}

/* Reads SIZE bytes, in however many segments; unprintable ones become '.'. Returns 0, or EOF at
 * end of file, or recv's errno: ECONNRESET, EAGAIN after 5 s of silence (SO_RCVTIMEO), others. */
static int receive(int connection, char *data, size_t size)
{
    while (size > 0) {
        const ssize_t n = recv(connection, data, size, 0);
        const int end = n == -1 ? errno : n == 0 ? EOF : 0;
        if (end == EINTR) /* SIGSTOP and SIGCONT interrupt a recv that has a timeout: signal(7) */
            continue;
        if (end != 0) {
            say("recv %s", why(end));
            return end;
        }
        for (ssize_t i = 0; i < n; i++)
            if (data[i] < ' ' || data[i] > '~')
                data[i] = '.';
        say("recv %zd bytes \"%.*s\"", n, (int)n, data);
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval silence = { .tv_sec = 5 };
    struct sockaddr_in self;
    socklen_t length = sizeof self;
    char data[4];

    if (argc > 1)
        die(2, argv[1], "unexpected argument", "usage: ./" SAMPLE "/client");
    if (fcntl(STDOUT_FILENO, F_GETFD) == -1) /* closed: the socket would become descriptor 1 */
        die(1, "stdout", strerror(errno), "it takes a line for every step");
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection == -1)
        die(1, "socket", strerror(errno), "see socket(7)");
    if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) == -1 ||
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) == -1)
        die(1, "setsockopt", strerror(errno), "see socket(7)");
    if (connect(connection, (const struct sockaddr *)&address, sizeof address) == -1)
        die(1, "connect " ADDRESS, errno == EINPROGRESS ? "no answer for 5 s" : strerror(errno),
            "start ./" SAMPLE "/server first");
    if (getsockname(connection, (struct sockaddr *)&self, &length) == -1)
        die(1, "getsockname", strerror(errno), "see getsockname(2)");
    say("connect " ADDRESS " from 127.0.0.1:%d", ntohs(self.sin_port));
    say("send 4 bytes \"ABCD\"");
    if (send(connection, "ABCD", 4, MSG_NOSIGNAL) == -1) /* the peer is gone: no SIGPIPE */
        die(1, "send " ADDRESS, strerror(errno), "is that ./" SAMPLE "/server?");
    int end = receive(connection, data, 4);
    if (end != 0 || memcmp(data, "CDEF", 4) != 0)
        die(1, "recv " ADDRESS, why(end), "not \"CDEF\": is that ./" SAMPLE "/server?");
    end = receive(connection, data, 1); /* the RST has come: nothing to read, an error instead */
    if (end != ECONNRESET)
        die(1, "recv " ADDRESS, why(end), "not ECONNRESET: is that ./" SAMPLE "/server?");
    say("close");
    if (close(connection) == -1) /* sends nothing: the connection is gone */
        die(1, "close", strerror(errno), "see close(2)");
    return 0;
}
