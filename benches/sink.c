/* Where HAProxy's log goes in `benches/run peers`: HAProxy writes no file itself, so this takes its stream and appends it to one. It reads nothing in it.
 *
 * usage: sink FILE      prints its port on one line, then takes 127.0.0.1:port, one connection after the other, until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static char bytes[1 << 18];

int main(int many, char **words) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), from;
    int file = many == 2 ? open(words[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (file < 0 || listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&at, &size)) {
        perror("sink");
        return 1;
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    while ((from = accept(listener, NULL, NULL)) >= 0) {
        ssize_t length;
        while ((length = read(from, bytes, sizeof bytes)) > 0) {
            if (write(file, bytes, (size_t)length) != length) {
                perror("sink");
                return 1;
            }
        }
        close(from);
    }
    perror("sink");
    return 1;
}
