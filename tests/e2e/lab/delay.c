/* A cable with faults, for the laboratory: carries Ethernet frames between two interfaces of its namespace, each way
 * late by so much, some of them lost, doubled or overtaken. (The kernels it runs on have no netem.)
 *
 *     lab-delay IF1 IF2 DELAY_MS JITTER_MS LOSS_PERCENT DUPLICATE_PERCENT REORDER_PERCENT
 *
 * Says "ready" and works until it is killed. Frames keep their order but for those chosen to be overtaken. The
 * ends that send must not leave checksums or segmentation to the link. What comes faster than it can be
 * carried is lost, as on any link. */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_BYTES = 65536 + 64,
    QUEUE_FRAMES = 32768,
    QUEUE_BYTES = 64 << 20,
    SOCKET_BYTES = 32 << 20,
    BURST = 64, /* frames read before those that are due are sent */
    OVERTAKEN_US = 15000,
    ENDS = 2,
};

struct frame {
    uint64_t due_us;
    uint64_t number; /* of equals the earlier one goes first */
    int to;
    uint32_t n;
    uint8_t *bytes;
};

static struct {
    struct frame *heap; /* QUEUE_FRAMES; the one that is due first lies first */
    size_t n, bytes;
    uint64_t number;
    uint64_t last_due_us[ENDS];
    uint64_t random;
    unsigned long delay_us, jitter_us, loss, duplicate, reorder;
} line;

static uint64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t draw(uint64_t below) /* xorshift64*; fair enough for a cable */
{
    line.random ^= line.random >> 12;
    line.random ^= line.random << 25;
    line.random ^= line.random >> 27;
    return below == 0 ? 0 : (line.random * 2685821657736338717ULL >> 16) % below;
}

static bool chance(unsigned long percent)
{
    return draw(100) < percent;
}

static bool before(const struct frame *a, const struct frame *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->number < b->number;
}

static void swap(struct frame *a, struct frame *b)
{
    struct frame t = *a;

    *a = *b;
    *b = t;
}

static void push(struct frame f)
{
    size_t at = line.n++;

    line.heap[at] = f;
    line.bytes += f.n;
    while (at > 0 && before(&line.heap[at], &line.heap[(at - 1) / 2])) {
        swap(&line.heap[at], &line.heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static struct frame pop(void)
{
    struct frame first = line.heap[0];
    size_t at = 0;

    line.heap[0] = line.heap[--line.n];
    line.bytes -= first.n;
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < line.n; child++) {
            if (before(&line.heap[child], &line.heap[least])) {
                least = child;
            }
        }
        if (least == at) {
            return first;
        }
        swap(&line.heap[at], &line.heap[least]);
        at = least;
    }
}

static void enqueue(int to, const uint8_t *bytes, size_t n, uint64_t now)
{
    struct frame f = {.number = line.number++, .to = to, .n = (uint32_t)n};

    if (line.n == QUEUE_FRAMES || line.bytes + n > QUEUE_BYTES || (f.bytes = malloc(n)) == NULL) {
        return;
    }
    memcpy(f.bytes, bytes, n);
    f.due_us = now + line.delay_us + draw(line.jitter_us + 1);
    if (f.due_us < line.last_due_us[to]) {
        f.due_us = line.last_due_us[to];
    }
    if (chance(line.reorder)) {
        f.due_us += OVERTAKEN_US;
    } else {
        line.last_due_us[to] = f.due_us;
    }
    push(f);
}

static void take_in(const int fds[ENDS], int from)
{
    static uint8_t bytes[FRAME_BYTES];

    for (int i = 0; i < BURST; i++) {
        struct sockaddr_ll address;
        socklen_t len = sizeof address;
        ssize_t n = recvfrom(fds[from], bytes, sizeof bytes, MSG_DONTWAIT,
                             (struct sockaddr *)&address, &len);
        uint64_t now = now_us();

        if (n <= 0) {
            return;
        }
        if (address.sll_pkttype == PACKET_OUTGOING || chance(line.loss)) {
            continue;
        }
        enqueue(1 - from, bytes, (size_t)n, now);
        if (chance(line.duplicate)) {
            enqueue(1 - from, bytes, (size_t)n, now);
        }
    }
}

static void send_due(const int fds[ENDS])
{
    uint64_t now = now_us();

    while (line.n > 0 && line.heap[0].due_us <= now) {
        struct frame f = pop();

        (void)!send(fds[f.to], f.bytes, f.n, 0); /* a link that is down loses it */
        free(f.bytes);
    }
}

static int open_end(const char *name)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = __builtin_bswap16(ETH_P_ALL)};
    struct packet_mreq all = {.mr_type = PACKET_MR_PROMISC};
    int size = SOCKET_BYTES, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

    address.sll_ifindex = all.mr_ifindex = (int)if_nametoindex(name);
    if (fd < 0 || address.sll_ifindex == 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "lab-delay: %s: %s\n", name, strerror(errno));
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    int fds[ENDS];

    if (argc != 8) {
        fprintf(stderr, "usage: lab-delay IF1 IF2 DELAY_MS JITTER_MS LOSS DUPLICATE REORDER\n");
        return 2;
    }
    line.delay_us = strtoul(argv[3], NULL, 10) * 1000;
    line.jitter_us = strtoul(argv[4], NULL, 10) * 1000;
    line.loss = strtoul(argv[5], NULL, 10);
    line.duplicate = strtoul(argv[6], NULL, 10);
    line.reorder = strtoul(argv[7], NULL, 10);
    line.heap = malloc(QUEUE_FRAMES * sizeof *line.heap);
    if (line.heap == NULL || getrandom(&line.random, sizeof line.random, 0) < 0) {
        return 1;
    }
    line.random |= 1;
    fds[0] = open_end(argv[1]);
    fds[1] = open_end(argv[2]);
    puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd polled[ENDS] = {{.fd = fds[0], .events = POLLIN},
                                      {.fd = fds[1], .events = POLLIN}};
        struct timespec wait = {0};
        uint64_t now = now_us();

        if (line.n > 0 && line.heap[0].due_us > now) {
            wait.tv_sec = (time_t)((line.heap[0].due_us - now) / 1000000);
            wait.tv_nsec = (long)((line.heap[0].due_us - now) % 1000000) * 1000;
        }
        (void)ppoll(polled, ENDS, line.n > 0 ? &wait : NULL, NULL);
        for (int end = 0; end < ENDS; end++) {
            if ((polled[end].revents & (POLLIN | POLLERR)) != 0) {
                take_in(fds, end);
            }
        }
        send_due(fds);
    }
}
