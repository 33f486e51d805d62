/* The floor of `benches/run peers`: a TCP relay on one thread. For each connection one to the upstream, bytes both ways. It knows no HTTP.
 *
 * What a proxy costs below this is not for it to save: one read and one write of each side for a message, and the waiting. Without `splice`, for
 * no proxy that looks at a request can use it for small ones.
 *
 * usage: relay UPSTREAM_PORT      prints its port on one line, then serves 127.0.0.1:port until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILES_MAX = 16384, PIECE_MAX = 65536 };

/* One end of a pair. What its peer does not take at once waits in `kept`, and until then this end is not read. */
struct end {
    int fd, connecting;
    struct end *peer;
    size_t from, to;
    char *kept;
};

static struct end *ends[FILES_MAX];
static int poller;
static char piece[PIECE_MAX];

static void watch(struct end *end, int how) {
    struct epoll_event event = {.data.fd = end->fd};
    int writes = end->connecting || end->peer->to > end->peer->from;
    if (end->to == end->from && !end->connecting) event.events |= EPOLLIN;
    if (writes) event.events |= EPOLLOUT;
    epoll_ctl(poller, how, end->fd, &event);
}

static void drop(struct end *end) {
    struct end *pair[] = {end, end->peer};
    for (int i = 0; i < 2; i++) {
        ends[pair[i]->fd] = NULL;
        close(pair[i]->fd);
        free(pair[i]->kept);
    }
    free(pair[0]);
    free(pair[1]);
}

/* Reads once and gives it to the other end; 0 when the pair has to go. */
static int pass(struct end *end) {
    ssize_t length = read(end->fd, piece, sizeof piece);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (length <= 0) return 0;
    ssize_t taken = end->peer->connecting ? 0 : write(end->peer->fd, piece, (size_t)length);
    if (taken == length) return 1;
    if (taken < 0 && errno != EAGAIN) return 0;
    if (taken < 0) taken = 0;
    if (!end->kept && !(end->kept = malloc(PIECE_MAX))) return 0;
    end->from = 0, end->to = (size_t)(length - taken);
    memcpy(end->kept, piece + taken, end->to);
    watch(end, EPOLL_CTL_MOD);
    watch(end->peer, EPOLL_CTL_MOD);
    return 1;
}

/* Gives `end` what waits for it; 0 when the pair has to go. */
static int flush(struct end *end) {
    struct end *source = end->peer;
    if (end->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) return 0;
        end->connecting = 0;
    }
    if (source->to > source->from) {
        ssize_t taken = write(end->fd, source->kept + source->from, source->to - source->from);
        if (taken < 0 && errno != EAGAIN) return 0;
        if (taken > 0) source->from += (size_t)taken;
    }
    watch(end, EPOLL_CTL_MOD);
    watch(source, EPOLL_CTL_MOD);
    return 1;
}

static void take(int fd, const struct sockaddr_in *upstream) {
    int one = 1, other = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct end *near = calloc(1, sizeof *near), *far = calloc(1, sizeof *far);
    if (other < 0 || !near || !far || fd >= FILES_MAX || other >= FILES_MAX ||
        (connect(other, (const struct sockaddr *)upstream, sizeof *upstream) && errno != EINPROGRESS)) {
        free(near);
        free(far);
        close(fd);
        if (other >= 0) close(other);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *near = (struct end){.fd = fd, .peer = far};
    *far = (struct end){.fd = other, .peer = near, .connecting = 1};
    ends[fd] = near, ends[other] = far;
    watch(near, EPOLL_CTL_ADD);
    watch(far, EPOLL_CTL_ADD);
}

int main(int many, char **words) {
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, upstream = at;
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (many != 2 || listener < 0 || poller < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&at, &size)) {
        perror("relay");
        return 1;
    }
    upstream.sin_port = htons((unsigned short)atoi(words[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) take(fd, &upstream);
                continue;
            }
            /* A pair that went a moment ago may still have an event here; a new one that has its number gets a harmless try. */
            struct end *end = ends[fd];
            if (end && ready[i].events & EPOLLOUT && !flush(end)) {
                drop(end);
                continue;
            }
            if (end && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && end->to == end->from && !pass(end)) drop(end);
        }
    }
}
