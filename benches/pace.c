/* The fixed rate of `benches/run peers`: requests leave on a constant schedule, whether or not answers come. For throughput there is wrk.
 *
 * A latency is from the moment when its request was due until its answer was whole. A stall of the proxy is thus counted for every request
 * that it held up, also for those that could not be sent; a closed loop like wrk's would not have sent them, and would not know.
 *
 * usage: pace PORT RATE SECONDS CONNECTIONS      requests as in wrk/peers.lua, from the same environment
 * Prints one line of JSON. `late` is how much later than due a request left: beyond a little, the load was too slow and not the proxy.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4096, ANSWER_MAX = 8192, LINE_MAX_BYTES = 256 };
static const long long SECOND = 1000000000, ANSWER_TIME_MAX = 5000000000;

struct connection {
    int fd;
    long long due;                  /* of the request under way; 0 when there is none */
    size_t length;
    char answer[ANSWER_MAX + 1];
};

static struct connection connections[CONNECTIONS_MAX];
static int idle[CONNECTIONS_MAX];   /* a ring: the one that has rested longest goes next */
static size_t idle_first, idle_count;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void fail(const char *why) {
    fprintf(stderr, "pace: %s: %s\n", why, strerror(errno));
    exit(1);
}

static const char *word(const char *name) {
    const char *value = getenv(name);
    if (!value) errno = 0, fail(name);
    return value;
}

/* Every request is ready before the first is sent. */
static size_t prepare(char ***requests, size_t **lengths) {
    const char *method = word("BENCH_METHOD"), *path = word("BENCH_PATH");
    size_t body = strtoul(word("BENCH_BODY"), NULL, 10), most = strtoul(word("BENCH_REQUESTS"), NULL, 10), many = 0;
    FILE *keys = fopen(word("BENCH_KEYS"), "r");
    char key[LINE_MAX_BYTES];
    *requests = calloc(most, sizeof **requests);
    *lengths = calloc(most, sizeof **lengths);
    if (!keys || !*requests || !*lengths) fail("keys");
    while (many < most && fgets(key, sizeof key, keys)) {
        key[strcspn(key, "\n")] = 0;
        char *request = malloc(1024 + body), *end = request;
        if (!request) fail("memory");
        end += sprintf(end, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: keygate-bench\r\nDD-API-KEY: %s\r\n", method, path, key);
        if (body) end += sprintf(end, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body);
        end += sprintf(end, "\r\n");
        if (body) end += sprintf(end, "{\"series\":[%*s]}", (int)body - 13, "");
        (*requests)[many] = request;
        (*lengths)[many++] = (size_t)(end - request);
    }
    fclose(keys);
    if (!many) errno = 0, fail("no keys");
    return many;
}

static void rest(int number, int most) {
    idle[(idle_first + idle_count++) % (size_t)most] = number;
}

/* 0 while the answer is not whole; its status when it is. */
static int whole(struct connection *c) {
    c->answer[c->length] = 0;
    char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\ncontent-length:");
    if (!end) return 0;
    if (!length || length > end) errno = 0, fail("an answer without a length");
    if (c->length < (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10)) return 0;
    return atoi(c->answer + 9);
}

static int by_size(const void *a, const void *b) {
    long long left = *(const long long *)a, right = *(const long long *)b;
    return (left > right) - (left < right);
}

static double at(const long long *sorted, size_t many, double share) {
    size_t place = (size_t)(share * (double)many);
    return (double)sorted[place < many ? place : many - 1] / 1000;
}

int main(int words, char **argv) {
    if (words != 5) errno = EINVAL, fail("usage: pace PORT RATE SECONDS CONNECTIONS");
    long long rate = atoll(argv[2]);
    int most = atoi(argv[4]), poller = epoll_create1(0), one = 1;
    size_t total = (size_t)(rate * atoll(argv[3])), sent = 0, done = 0, refused = 0;
    char **requests;
    size_t *lengths, many = prepare(&requests, &lengths);
    long long *took = calloc(total, sizeof *took), *late = calloc(total, sizeof *late);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)atoi(argv[1]))};
    if (most < 1 || most > CONNECTIONS_MAX || !total || !took || !late || poller < 0) fail("start");
    for (int i = 0; i < most; i++) {
        connections[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connections[i].fd < 0 || connect(connections[i].fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
        setsockopt(connections[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        epoll_ctl(poller, EPOLL_CTL_ADD, connections[i].fd, &event);
        rest(i, most);
    }
    /* The kernel may otherwise let us sleep 50 us too long. */
    prctl(PR_SET_TIMERSLACK, 1);
    long long begun = now() + SECOND / 100, last = begun;
    while (done < total) {
        long long time = now();
        while (sent < total && idle_count && begun + (long long)sent * SECOND / rate <= time) {
            struct connection *c = &connections[idle[idle_first]];
            idle_first = (idle_first + 1) % (size_t)most, idle_count--;
            c->due = begun + (long long)sent * SECOND / rate, c->length = 0;
            late[sent] = time - c->due;
            size_t which = sent++ % many;
            if (send(c->fd, requests[which], lengths[which], MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)lengths[which]) fail("send");
            time = now();
        }
        long long wait = sent < total && idle_count ? begun + (long long)sent * SECOND / rate - time : SECOND;
        if (wait < 0) wait = 0;
        struct timespec limit = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        struct epoll_event ready[256];
        int count = epoll_pwait2(poller, ready, 256, &limit, NULL);
        if (count < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < count; i++) {
            struct connection *c = &connections[ready[i].data.u32];
            ssize_t length = recv(c->fd, c->answer + c->length, ANSWER_MAX - c->length, MSG_DONTWAIT);
            if (length < 0 && errno == EAGAIN) continue;
            if (length <= 0 || !c->due) errno = length < 0 ? errno : 0, fail("a connection ended, or an answer came to no request");
            c->length += (size_t)length;
            int status = whole(c);
            if (!status) continue;
            last = now();
            took[done++] = last - c->due;
            refused += status != 200;
            c->due = 0;
            rest((int)ready[i].data.u32, most);
        }
        if (!count && sent && now() - last > ANSWER_TIME_MAX && idle_count < (size_t)most) errno = ETIMEDOUT, fail("no answer");
    }
    qsort(took, total, sizeof *took, by_size);
    qsort(late, total, sizeof *late, by_size);
    printf("BENCH {\"requests\":%zu,\"microseconds\":%lld,\"status\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"late\":%.1f}\n",
           total, (last - begun) / 1000, refused, at(took, total, 0.5), at(took, total, 0.99), at(took, total, 0.999), at(took, total, 1),
           at(late, total, 0.99));
    return 0;
}
