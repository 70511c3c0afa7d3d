/* sample2/server.c - SO_LINGER {1, 0} before close(): the connection ends with RST, no FIN.
 * Answers "ABCD" with "CDEF" and resets the connection as soon as "CDEF" is acknowledged.
 * Run ./sample2/server, then ./sample2/client in a second terminal; see client.c. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
    printf("%s.%06ld server ", hms, now.tv_nsec / 1000);
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
    const int on = 1;

    if (argc > 1)
        die(2, argv[1], "unexpected argument", "usage: ./" SAMPLE "/server");
    if (fcntl(STDOUT_FILENO, F_GETFD) == -1) /* closed: the listener would become descriptor 1 */
        die(1, "stdout", strerror(errno), "it takes a line for every step");
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener == -1 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1)
        die(1, "socket", strerror(errno), "see socket(7)");
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) == -1 ||
        listen(listener, SOMAXCONN) == -1)
        die(1, "listen " ADDRESS, strerror(errno), "ss -tlnp shows who has the port");
    say("listen " ADDRESS);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        char data[4];
        const int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1)
            die(1, "accept", strerror(errno), "see accept(2)");
        say("accept 127.0.0.1:%d", ntohs(peer.sin_port));
        if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) == -1)
            die(1, "setsockopt SO_RCVTIMEO", strerror(errno), "see socket(7)");
        if (receive(connection, data, 4) == 0 && memcmp(data, "ABCD", 4) == 0) {
            say("send 4 bytes \"CDEF\"");
            if (send(connection, "CDEF", 4, MSG_NOSIGNAL) == -1) /* the peer is gone: no SIGPIPE */
                say("send failed (%s)", strerror(errno));
            /* A RST now might overtake the client's ACK of "CDEF": wait until that has come. */
            struct pollfd gone = { .fd = connection };
            for (int ms = 0, unacked; ms < 5000; ms++)
                if (ioctl(connection, TIOCOUTQ, &unacked) == -1 || unacked == 0 ||
                    poll(&gone, 1, 1) != 0) /* 1 ms, or less if the client has reset */
                    break;
            /* With {1, 0} close() sends RST instead of FIN, and neither side keeps TIME-WAIT. */
            const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
            say("setsockopt SO_LINGER {1, 0}");
            if (setsockopt(connection, SOL_SOCKET, SO_LINGER, &abort, sizeof abort) == -1)
                die(1, "setsockopt SO_LINGER", strerror(errno), "see socket(7)");
        }
        say("close");
        if (close(connection) == -1)
            die(1, "close", strerror(errno), "see close(2)");
    }
}
