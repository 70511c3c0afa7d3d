/* tests/hostile.c - the clients that no server wants, from a seed, so that a run can be had again.
 * hostile attack PORT ROUNDS SEED  bad clients; after every 16th a good one, which must get its answer
 * hostile polite PORT ROUNDS 0     good clients only, for measuring
 * Exit status: 0, or 1 with a line on stderr when the server was not as it must be. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE = 60, CROWD = 64 }; /* seconds for a round before SIGALRM; clients at once */
enum { LEAVE, RESET, DRAIN, ENDS };

static struct sockaddr_in address = { .sin_family = AF_INET };
static unsigned seed;
static char junk[1 << 16];

static int checked(int result, const char *what)
{
    if (result == -1) {
        fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
        exit(1);
    }
    return result;
}

static unsigned pick(unsigned n) /* a number below N */
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

/* Some of ABCD, or of what is like it, or nothing, in one of three ways; then, now and then, very
 * much. The server may be gone already: that is what we are here for. */
static void talk(int fd)
{
    static const char wrong[] = "ABCE\0CDEG\xff\n%nCDEXABCX";
    const char *bytes = pick(2) == 0 ? "ABCD" : wrong + pick(sizeof wrong - 5);
    const size_t size = pick(5);
    const unsigned way = pick(4);
    for (size_t i = 0; way == 0 && i < size; i++) {
        send(fd, bytes + i, 1, MSG_NOSIGNAL);
        poll(NULL, 0, (int)pick(3));
    }
    if (way > 0)
        send(fd, bytes, size, MSG_NOSIGNAL | (way == 1 ? MSG_OOB : 0));
    for (unsigned i = pick(8) == 0 ? pick(16) : 0; i > 0; i--)
        send(fd, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void finish(int fd, unsigned end) /* whoever is silent for ever is met by SIGALRM */
{
    const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
    if (end == RESET)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    if (end == DRAIN)
        shutdown(fd, SHUT_WR);
    while (end == DRAIN && recv(fd, junk, sizeof junk, 0) > 0) {
    }
    close(fd);
}

static int dial(void)
{
    const int on = 1;
    const int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
    checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY"); /* or pieces wait */
    checked(connect(fd, (const struct sockaddr *)&address, sizeof address), "connect");
    return fd;
}

/* One conversation as it should be. */
static void converse(void)
{
    char data[4];
    const int fd = dial();
    send(fd, "ABCD", 4, MSG_NOSIGNAL);
    errno = EPROTO; /* if other bytes come, or an end */
    checked(recv(fd, data, 4, MSG_WAITALL) == 4 && memcmp(data, "CDEF", 4) == 0 ? 0 : -1, "no CDEF");
    if (address.sin_port != htons(8081))
        checked(recv(fd, data, 1, 0) == -1 && errno == ECONNRESET ? 0 : -1, "no ECONNRESET");
    close(fd);
}

static void attack(void)
{
    int fds[CROWD];
    const unsigned crowd = pick(40) == 0 ? CROWD : 1;
    for (unsigned i = 0; i < crowd; i++)
        talk(fds[i] = dial());
    if (pick(4) == 0 && poll(NULL, 0, (int)pick(3)) == 0)
        recv(fds[0], junk, 1 + pick(4), MSG_DONTWAIT);
    for (unsigned i = 0; i < crowd; i++)
        finish(fds[i], crowd == 1 ? pick(ENDS) : pick(DRAIN));
}

int main(int argc, char **argv)
{
    errno = EINVAL;
    checked(argc == 5 ? 0 : -1, "usage: hostile attack|polite PORT ROUNDS SEED");
    const unsigned rounds = (unsigned)strtoul(argv[3], NULL, 10);
    address.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    seed = (unsigned)strtoul(argv[4], NULL, 10);
    for (unsigned round = 0; round < rounds; round++) {
        const int polite = strcmp(argv[1], "polite") == 0;
        alarm(PATIENCE);
        if (!polite)
            attack();
        if (polite || round % 16 == 15)
            converse();
    }
    return 0;
}
