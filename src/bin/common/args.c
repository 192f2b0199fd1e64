/* What the thin programs share. Keeps no secret: what it reads goes to the caller's buffer alone. */
#include "bin/common/args.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

int bk_report(const char *program, const struct beckon_error *error)
{
    fprintf(stderr, "%s: %s\n", program, error->text);
    return (int)error->status;
}

int bk_usage(const char *program, const char *text)
{
    fprintf(stderr, "%s: %s; see --help\n", program, text);
    return BECKON_USAGE;
}

int bk_printed(const char *program)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return BECKON_OK;
    }
    fprintf(stderr, "%s: standard output cannot be written; free some space\n", program);
    return BECKON_FAILED;
}

/* Holds back what would end the program while a question is on the terminal: the descriptor shows when there
 * is something, and it takes effect at the release, when the terminal is as it was. */
static int signals_hold(sigset_t *before)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, before);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void signals_release(int ending, const sigset_t *before)
{
    if (ending >= 0) {
        close(ending);
    }
    sigprocmask(SIG_SETMASK, before, NULL);
}

/* One line from `fd`, byte by byte: what follows it is not ours. `ending` (or -1) ends it. */
static int read_line(int fd, int ending, char *out, size_t cap)
{
    struct pollfd waits[] = {{.fd = fd, .events = POLLIN}, {.fd = ending, .events = POLLIN}};
    size_t n = 0;

    for (;;) {
        char c;
        ssize_t got;

        if (ending >= 0 && (poll(waits, 2, -1) < 0 || waits[1].revents != 0)) {
            return -1;
        }
        got = read(fd, &c, 1);
        if (got < 0 || (got == 0 && n == 0)) {
            return -1;
        }
        if (got == 0 || c == '\n') {
            return (int)n;
        }
        if (n == cap) {
            return -1;
        }
        out[n++] = c;
    }
}

static int read_hidden(int tty, int ending, const char *prompt, char *out, size_t cap)
{
    struct termios shown, hidden;
    int n;

    if (tcgetattr(tty, &shown) != 0) {
        return -1;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(tty, TCSAFLUSH, &hidden) != 0) {
        return -1;
    }
    n = write(tty, prompt, strlen(prompt)) < 0 ? -1 : read_line(tty, ending, out, cap);
    (void)tcsetattr(tty, TCSAFLUSH, &shown);
    if (write(tty, "\n", 1) < 0) {
        return -1;
    }
    return n;
}

int bk_secret_from_terminal(const char *prompt, char *out, size_t cap)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    sigset_t before;
    int n, ending;

    if (tty < 0) {
        return -1;
    }
    ending = signals_hold(&before);
    n = read_hidden(tty, ending, prompt, out, cap);
    signals_release(ending, &before);
    close(tty);
    return n;
}

int bk_secret_from_file(int fd, char *out, size_t cap)
{
    return read_line(fd, -1, out, cap);
}

bool bk_token_argument(const char *program, const char *argument, char *out, size_t cap)
{
    size_t n = strlen(argument);
    int got;

    if (strcmp(argument, "-") != 0) {
        if (n >= cap) {
            fprintf(stderr, "%s: this is no join token: too long\n", program);
            return false;
        }
        memcpy(out, argument, n + 1);
        return true;
    }
    got = read_line(STDIN_FILENO, -1, out, cap - 1);
    if (got < 0) {
        fprintf(stderr, "%s: no join token on standard input\n", program);
        return false;
    }
    out[got] = '\0';
    return true;
}

bool bk_confirm_on_terminal(const char *question)
{
    char answer[8] = {0};
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    sigset_t before;
    int n = -1, ending;

    if (tty < 0) {
        return false;
    }
    ending = signals_hold(&before);
    if (write(tty, question, strlen(question)) >= 0) {
        n = read_line(tty, ending, answer, sizeof answer);
    }
    signals_release(ending, &before);
    close(tty);
    return n == 3 && memcmp(answer, "yes", 3) == 0;
}

static void (*stop_function)(void *ctx);
static void *stop_ctx;

static void on_signal(int number)
{
    (void)number;
    stop_function(stop_ctx);
}

static void signals_set(const struct sigaction *action)
{
    sigaction(SIGINT, action, NULL);
    sigaction(SIGTERM, action, NULL);
    sigaction(SIGHUP, action, NULL);
}

void bk_signals_stop(void (*stop)(void *ctx), void *ctx)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    stop_function = stop;
    stop_ctx = ctx;
    signals_set(&action);
    sigaction(SIGPIPE, &ignore, NULL);
}

void bk_signals_ignore(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    signals_set(&ignore);
}
