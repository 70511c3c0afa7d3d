/* tests/hostile.c - the peers that nobody wants, from a seed, so that a run can be had again.
 * hostile attack PORT ROUNDS SEED              bad clients against the server at PORT; after every
 *                                              16th a good one, which must get its answer
 * hostile serve PORT ROUNDS SEED AT_ONCE CLIENT...  a bad server; runs CLIENT itself, ROUNDS times,
 *                                              and knows how many of them must exit with 0
 * hostile polite PORT ROUNDS                   good clients only, for measuring
 * Exit status: 0, or 4 with a line on stderr when the other side was not as it must be. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
/* Peers at once; exit status of a child that answers one; seconds for a step before SIGALRM. */
enum { CROWD = 64, ANSWERED = 3, PATIENCE = 600 };

static uint16_t port;
static struct sockaddr_in address = { .sin_family = AF_INET };
static unsigned seed;
static char junk[1 << 16];
static const char wrong[] = "ABCE\0CDEG\xff\n%n";

static _Noreturn void die(const char *what, const char *reason)
{
    fprintf(stderr, "hostile: %s: %s\n", what, reason);
    exit(4); /* which no client does */
}

static unsigned pick(unsigned n) /* a number below N */
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

/* The peer may be gone already: that is what we are here for. */
static void put(int fd, const char *bytes, size_t size, int flags)
{
    send(fd, bytes, size, MSG_NOSIGNAL | flags);
}

static void put_slowly(int fd, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        put(fd, bytes + i, 1, 0);
        poll(NULL, 0, (int)pick(3));
    }
}

static void flood(int fd)
{
    for (unsigned i = 1 + pick(16); i > 0; i--)
        put(fd, junk, sizeof junk, MSG_DONTWAIT);
}

static void leave(int fd)
{
    close(fd);
}

static void reset(int fd)
{
    const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    close(fd);
}

/* Half-closes, and reads to the end; a peer that is silent for longer than 5 s is at fault. */
static void drain(int fd)
{
    ssize_t n;
    shutdown(fd, SHUT_WR);
    do
        n = recv(fd, junk, sizeof junk, 0);
    while (n > 0);
    if (n == -1 && errno == EAGAIN)
        die("half-closed", "no end from the other side");
    close(fd);
}

static void finish(int fd)
{
    static void (*const ways[])(int) = { leave, reset, drain };
    ways[pick(3)](fd);
}

static int checked(int fd, const char *what)
{
    const struct timeval silence = { .tv_sec = 60 };
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) == -1)
        die(what, strerror(errno));
    return fd;
}

static int dial(int flags)
{
    const int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
    if (fcntl(fd, F_SETFL, flags) == -1 ||
        (connect(fd, (const struct sockaddr *)&address, sizeof address) == -1 && errno != EINPROGRESS))
        die("connect", strerror(errno));
    return fd;
}

/* One conversation as it should be. */
static void converse(void)
{
    char data[4];
    const int fd = dial(0);
    put(fd, "ABCD", 4, 0);
    if (recv(fd, data, 4, MSG_WAITALL) != 4 || memcmp(data, "CDEF", 4) != 0)
        die("a good client", "no CDEF");
    if (port != 8081 && (recv(fd, data, 1, 0) != -1 || errno != ECONNRESET))
        die("a good client", "no ECONNRESET");
    close(fd);
}

static void crowd(void)
{
    int fds[CROWD];
    for (int i = 0; i < CROWD; i++) {
        fds[i] = dial(O_NONBLOCK);
        put(fds[i], "ABCDE", pick(6), 0);
    }
    poll(NULL, 0, (int)pick(5));
    for (int i = 0; i < CROWD; i++)
        (pick(2) == 0 ? reset : leave)(fds[i]);
}

static void attack(unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        unsigned kind = pick(10);
        alarm(PATIENCE);
        kind = kind == 9 && pick(4) != 0 ? 5 : kind; /* a crowd counts for many */
        const int fd = kind == 9 ? -1 : dial(0);
        switch (kind) {
        case 0: finish(fd); break; /* nothing */
        case 1: put(fd, "ABC", 1 + pick(3), 0); finish(fd); break;
        case 2: put(fd, "ABCD", pick(5), 0); flood(fd); finish(fd); break;
        case 3: put(fd, wrong + pick(10), 4, 0); finish(fd); break;
        case 4: put(fd, "ABCD", pick(5), 0); drain(fd); break;
        case 5: put(fd, "ABCD", pick(5), 0); reset(fd); break;
        case 6: put(fd, "ABCD", 4, 0); recv(fd, junk, 1 + pick(4), 0); reset(fd); break;
        case 7: put_slowly(fd, "ABCDE", 1 + pick(5)); finish(fd); break;
        case 8: put(fd, "ABC", pick(4), 0); put(fd, "DE", 2, MSG_OOB); finish(fd); break;
        default: crowd(); break;
        }
        if (rounds >= 5000 && round % 5000 == 2500) /* silent: 5 s each, so very few */
            recv(dial(0), junk, 1, 0);
        if (round % 16 == 15)
            converse();
    }
    converse();
}

/* Waits until the peer's kernel has all that was sent: a reset throws away what still waits here. */
static void delivered(int fd)
{
    int unacked = 0;
    while (ioctl(fd, TIOCOUTQ, &unacked) == 0 && unacked > 0)
        poll(NULL, 0, 1);
}

/* Answers one client, badly. */
static void answer(int fd, unsigned kind)
{
    char data[4];
    if (kind > 1 && recv(fd, data, 4, MSG_WAITALL) != 4)
        die("a client", "no ABCD");
    switch (kind) {
    case 0: close(fd); break;
    case 1: reset(fd); break;
    case 2: finish(fd); break;
    case 3: put(fd, "CDE", pick(4), 0); finish(fd); break;
    case 4: put(fd, wrong + pick(10), 4, 0); finish(fd); break;
    case 5: put(fd, "CD", 2, 0); put(fd, "E", 1, MSG_OOB); put(fd, "F", 1, 0); close(fd); break;
    case 6: put_slowly(fd, "CDEF", pick(4)); reset(fd); break;
    case 7: put(fd, "CDEF", 4, 0); flood(fd); close(fd); break;
    case 8: put(fd, "CDEF", 4, 0); drain(fd); break;
    case 9: put_slowly(fd, "CDEF", 4); drain(fd); break;
    default: put_slowly(fd, "CDEF", 4); delivered(fd); reset(fd); break;
    }
}

static void serve(unsigned rounds, unsigned at_once, char **client)
{
    const int on = 1;
    const int listener = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
    const int null = open("/dev/null", O_WRONLY);
    unsigned content = 0;
    unsigned status_0 = 0;
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    if (null == -1 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        bind(listener, (const struct sockaddr *)&address, sizeof address) == -1 ||
        listen(listener, SOMAXCONN) == -1)
        die("listen", strerror(errno));
    for (unsigned round = 0; round < rounds; round += at_once) {
        alarm(PATIENCE);
        for (unsigned i = 0; i < at_once; i++)
            if (fork() == 0) {
                dup2(null, STDOUT_FILENO);
                execvp(client[0], client);
                _exit(127);
            }
        for (unsigned i = 0; i < at_once; i++) {
            const int fd = checked(accept(listener, NULL, NULL), "accept");
            const unsigned kind = pick(12);
            content += kind > 9 || (kind > 6 && port == 8081); /* to sample1 it is CDEF that counts */
            if (fork() == 0) {
                answer(fd, kind);
                exit(ANSWERED);
            }
            close(fd);
        }
        for (unsigned i = 0; i < 2 * at_once; i++) {
            int status = 0;
            wait(&status);
            if (!WIFEXITED(status) || (WEXITSTATUS(status) > 1 && WEXITSTATUS(status) != ANSWERED))
                die(client[0], WIFEXITED(status) ? "exit status above 1" : "killed by a signal");
            status_0 += WEXITSTATUS(status) == 0;
        }
    }
    printf("%u clients, %u must exit with 0, %u did\n", rounds, content, status_0);
    if (content != status_0)
        die(client[0], "exit status does not tell what it saw");
}

static unsigned number(int argc, char **argv, int i)
{
    return i < argc ? (unsigned)strtoul(argv[i], NULL, 10) : 0;
}

int main(int argc, char **argv)
{
    const unsigned rounds = number(argc, argv, 3);
    port = (uint16_t)number(argc, argv, 2);
    seed = number(argc, argv, 4);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (argc == 5 && strcmp(argv[1], "attack") == 0)
        attack(rounds);
    else if (argc > 6 && strcmp(argv[1], "serve") == 0)
        serve(rounds, number(argc, argv, 5), argv + 6);
    else if (argc == 4 && strcmp(argv[1], "polite") == 0)
        for (unsigned i = 0; i < rounds; i++)
            converse();
    else
        die("usage", "hostile attack|serve|polite PORT ROUNDS [SEED [AT_ONCE CLIENT...]]");
    return 0;
}
