/* The upstream of the benchmarks: answers every request with 200 after its whole body, and counts. Not an HTTP server.
 *
 * It stands here because nginx with `return 200` answers before it has read a large body, and a proxy may then not reuse
 * that connection: the 64 KiB figures would be about reconnecting. It is C because a Rust linker brings a C compiler along,
 * so it needs no crate, no manifest entry and no `unsafe` in the package.
 *
 * usage: upstream        prints its port on one line, then serves 127.0.0.1:port until it is killed.
 * GET /__counts          {"requests":N,"body_bytes":N,"connections":N,"refused":N,"keyed":N,"named":N}, itself not counted; keyed are
 *                        requests that still have an API key, named those that say of which org they are.
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 8192, HEAD_MAX = 16384, READ_MAX = 262144 };

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";

struct connection {
    size_t head_bytes;              /* of a head that has not ended yet */
    unsigned long long body_left;   /* of the request being read */
    int in_body, counts;
    char head[HEAD_MAX + 1];
};

static struct connection *connections[CONNECTIONS_MAX];
static unsigned long long requests, body_bytes, accepted, refused, keyed, named;
static char bytes[READ_MAX];

static void drop(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

/* What matters of a head, in one pass over its lines; it ends in a blank line. */
struct seen { const char *length; int is_chunked, is_keyed, is_named; };

static const char *is(const char *line, const char *name) {
    size_t length = strlen(name);
    if (strncasecmp(line, name, length)) return NULL;
    for (line += length; *line == ' ' || *line == '\t'; line++) {}
    return line;
}

static struct seen look(const char *head) {
    struct seen seen = {0};
    for (const char *line = strstr(head, "\r\n"), *value; line; line = strstr(line, "\r\n")) {
        line += 2;
        if ((value = is(line, "content-length:"))) seen.length = value;
        else if (is(line, "transfer-encoding:")) seen.is_chunked = 1;
        else if (is(line, "dd-api-key:")) seen.is_keyed = 1;
        else if ((value = is(line, "x-keygate-org-id:"))) seen.is_named = *value != '\r';
    }
    return seen;
}

/* The answers are far smaller than a socket's buffer, so a short write means a peer that does not read: it is dropped. */
static int answer(int fd, const struct connection *c) {
    if (!c->counts) return write(fd, ANSWER, sizeof ANSWER - 1) == (ssize_t)(sizeof ANSWER - 1);
    char body[256], message[512];
    int length = snprintf(body, sizeof body,
                          "{\"requests\":%llu,\"body_bytes\":%llu,\"connections\":%llu,\"refused\":%llu,\"keyed\":%llu,\"named\":%llu}",
                          requests, body_bytes, accepted, refused, keyed, named);
    length = snprintf(message, sizeof message, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, body);
    return write(fd, message, (size_t)length) == length;
}

/* Takes what was read; 0 when the connection has to go. */
static int take(int fd, struct connection *c, const char *data, size_t length) {
    for (;;) {
        if (c->in_body) {
            size_t part = length < c->body_left ? length : (size_t)c->body_left;
            c->body_left -= part, data += part, length -= part;
            body_bytes += part;
            if (c->body_left) return 1;
            c->in_body = 0;
            if (!c->counts) requests++;
            if (!answer(fd, c)) return 0;
        }
        if (!length) return 1;
        size_t before = c->head_bytes, part = length < HEAD_MAX - before ? length : HEAD_MAX - before;
        memcpy(c->head + before, data, part);
        c->head[before + part] = 0;
        size_t from = before < 3 ? 0 : before - 3;
        char *end = memmem(c->head + from, before + part - from, "\r\n\r\n", 4);
        if (!end) {
            c->head_bytes = before + part;
            return c->head_bytes < HEAD_MAX;
        }
        size_t used = (size_t)(end + 4 - c->head) - before;
        end[2] = 0;
        data += used, length -= used;
        c->head_bytes = 0;
        c->counts = strncmp(c->head, "GET /__counts ", 14) == 0;
        /* No contender has a reason to re-frame a body whose length is known, so this is an error to show. */
        struct seen seen = look(c->head);
        if (seen.is_chunked) {
            static const char no[] = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            refused++;
            if (write(fd, no, sizeof no - 1) < 0) return 0;
            return 0;
        }
        c->body_left = seen.length ? strtoull(seen.length, NULL, 10) : 0;
        if (!c->counts) keyed += (unsigned)seen.is_keyed, named += (unsigned)seen.is_named;
        c->in_body = 1;
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), poll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || poll < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&at, &size)) {
        perror("upstream");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int many = epoll_wait(poll, ready, 256, -1);
        for (int i = 0; i < many; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    if (fd >= CONNECTIONS_MAX || !(connections[fd] = calloc(1, sizeof **connections))) {
                        close(fd);
                        continue;
                    }
                    accepted++;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            ssize_t length = read(fd, bytes, sizeof bytes);
            if (length < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (length <= 0 || !take(fd, connections[fd], bytes, (size_t)length)) drop(fd);
        }
    }
}
