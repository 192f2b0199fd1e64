/* The idle part's side of lib/agent_helper.h: starts the call program for its filter, and for names. An address literal
 * needs nobody. Answers come from the loop, never from within the question. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>

#include "lib/agent_helper.h"
#include "lib/agent_private.h"
#include "lib/fail.h"
#include "net/sandbox.h"

enum {
    SANDBOX_WAIT_MS = 10000,
    RESOLVE_WAIT_S = 10, /* it gives up by itself after BK_RESOLVE_MS */
    PORT_TEXT_BYTES = 21,
};

/* ---- The filter ---- */

/* The bytes of the one message; 0: none came. */
static size_t receive(int channel, void *out, size_t cap)
{
    struct pollfd p = {.fd = channel, .events = POLLIN};
    int ready;
    ssize_t n;

    do {
        ready = poll(&p, 1, SANDBOX_WAIT_MS);
    } while (ready < 0 && errno == EINTR);
    n = ready == 1 ? recv(channel, out, cap, 0) : 0;
    return n > 0 ? (size_t)n : 0;
}

/* Loads what the helper makes. `instructions` has room for BPF_MAXINSNS of them. */
static enum bk_err load_made(struct beckon_agent *a, struct sock_filter *instructions, char *why,
                             size_t why_bytes)
{
    char sandbox[] = "sandbox";
    char *argv[] = {a->call_program, sandbox, NULL};
    size_t bytes;
    pid_t pid;
    int channel, how;

    if (bk_child_start(argv, &pid, &channel) != BK_OK) {
        return bk_sandbox_say(errno, why, why_bytes);
    }
    bytes = receive(channel, instructions, BPF_MAXINSNS * sizeof *instructions);
    close(channel);
    how = bk_child_reap(pid);
    if (how == BK_CHILD_NOT_STARTED) {
        return bk_sandbox_say(ENOENT, why, why_bytes);
    }
    if (how != 0 || bytes == 0 || bytes % sizeof *instructions != 0) {
        return bk_sandbox_say(ECHILD, why, why_bytes);
    }
    return bk_sandbox_load(instructions, bytes / sizeof *instructions, why, why_bytes);
}

static enum bk_err confine(struct beckon_agent *a, char *why, size_t why_bytes)
{
    const size_t bytes = BPF_MAXINSNS * sizeof(struct sock_filter);
    struct sock_filter *instructions;
    enum bk_err err;

    if (!bk_sandbox_possible()) {
        return bk_sandbox_say(0, why, why_bytes);
    }
    instructions = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (instructions == MAP_FAILED) {
        return bk_sandbox_say(ENOMEM, why, why_bytes);
    }
    err = load_made(a, instructions, why, why_bytes);
    (void)munmap(instructions, bytes);
    return err;
}

void bk_agent_confine(struct beckon_agent *a)
{
    char why[BK_SANDBOX_WHY_BYTES];

    if (confine(a, why, sizeof why) != BK_OK) {
        bk_log(a->log, a->ctx, 0, "%s", why);
    }
}

/* ---- Names ---- */

/* A process that has answered ends by itself; of another the answer is not wanted any more. */
static void question_over(struct beckon_agent *a, bool answered)
{
    struct bk_agent_question *q = &a->question;
    pid_t pid = q->pid;

    if (q->event == NULL) {
        return;
    }
    event_free(q->event);
    q->event = NULL;
    q->pid = 0;
    if (pid != 0) {
        close(q->channel);
        if (!answered) {
            (void)kill(pid, SIGKILL);
        }
        bk_child_leave_now(&q->leaving);
        if (bk_child_leave(&q->leaving, a->base, pid, bk_agent_gone, a) != BK_OK) {
            bk_agent_gone(a, bk_child_reap(pid));
        }
    }
}

void bk_agent_resolve_cancel(struct beckon_agent *a)
{
    question_over(a, false);
}

static void on_literal(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_addr addr = a->question.literal;

    (void)fd;
    (void)what;
    bk_agent_resolve_cancel(a);
    bk_agent_resolved(a, &addr, 1, "");
}

static void on_answer(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_resolved_message answer;
    bool whole = (what & EV_READ) != 0 &&
                 recv((int)fd, &answer, sizeof answer, 0) == (ssize_t)sizeof answer &&
                 answer.n <= BK_RESOLVE_MAX;

    question_over(a, whole);
    if (!whole) {
        bk_agent_resolved(a, NULL, 0, "it cannot be looked up");
        return;
    }
    answer.text[sizeof answer.text - 1] = '\0';
    bk_agent_resolved(a, answer.addrs, answer.failed != 0 ? 0 : answer.n, answer.text);
}

/* Brackets or none around an IPv6 address. */
static bool literal(const char *host, uint16_t port, struct bk_addr *out)
{
    struct bk_slice text = bk_slice_text(host);

    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
        text = bk_slice(text.p + 1, text.n - 2);
    }
    if (bk_addr_parse(text, port, out) != BK_OK) {
        return false;
    }
    out->port = port;
    return true;
}

static bool start_helper(struct beckon_agent *a, char *host, uint16_t port)
{
    struct bk_agent_question *q = &a->question;
    struct timeval patience = {.tv_sec = RESOLVE_WAIT_S};
    char verb[] = "resolve", digits[PORT_TEXT_BYTES];
    char *argv[] = {a->call_program, verb, host, digits, NULL};

    (void)snprintf(digits, sizeof digits, "%u", (unsigned)port);
    if (bk_child_start(argv, &q->pid, &q->channel) != BK_OK) {
        q->pid = 0;
        return false;
    }
    q->event = event_new(a->base, q->channel, EV_READ, on_answer, a);
    if (q->event != NULL && event_add(q->event, &patience) == 0) {
        return true;
    }
    if (q->event == NULL) {
        close(q->channel);
        (void)bk_child_reap(q->pid);
        q->pid = 0;
    } else {
        bk_agent_resolve_cancel(a);
    }
    return false;
}

bool bk_agent_resolve(struct beckon_agent *a, char *host, uint16_t port)
{
    struct bk_agent_question *q = &a->question;

    bk_agent_resolve_cancel(a);
    if (!literal(host, port, &q->literal)) {
        return start_helper(a, host, port);
    }
    q->event = evtimer_new(a->base, on_literal, a);
    if (q->event == NULL) {
        return false;
    }
    event_active(q->event, EV_TIMEOUT, 1);
    return true;
}

void bk_agent_resolve_end(struct beckon_agent *a)
{
    bk_agent_resolve_cancel(a);
    bk_child_leave_now(&a->question.leaving);
}
