#include "common/args.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const struct bk_option *option_named(const struct bk_option *options, size_t n,
                                            const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

bool bk_options_read(const char *program, int argc, char **argv, const struct bk_option *options,
                     size_t n_options, int *n_rest)
{
    bool ended = false;

    *n_rest = 0;
    for (int i = 1; i < argc; i++) {
        const struct bk_option *option;

        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
            continue;
        }
        if (ended || argv[i][0] != '-' || argv[i][1] == '\0') { /* "-" is a word */
            argv[1 + (*n_rest)++] = argv[i];
            continue;
        }
        option = option_named(options, n_options, argv[i]);
        if (option == NULL) {
            fprintf(stderr, "%s: unknown option \"%s\"; see --help\n", program, argv[i]);
            return false;
        }
        if (option->flag != NULL) {
            *option->flag = true;
            continue;
        }
        if (i + 1 == argc) {
            fprintf(stderr, "%s: %s needs a value; see --help\n", program, argv[i]);
            return false;
        }
        *option->value = argv[++i];
    }
    return true;
}

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

/* One line from `fd`, byte by byte: what follows it is not ours. */
static int read_line(int fd, char *out, size_t cap)
{
    size_t n = 0;

    for (;;) {
        char c;
        ssize_t got = read(fd, &c, 1);

        if (got < 0 && errno == EINTR) {
            continue;
        }
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

static int read_hidden(int tty, const char *prompt, char *out, size_t cap)
{
    struct termios shown, hidden;
    int n;

    if (tcgetattr(tty, &shown) != 0) {
        return -1;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    if (write(tty, prompt, strlen(prompt)) < 0 || tcsetattr(tty, TCSAFLUSH, &hidden) != 0) {
        return -1;
    }
    n = read_line(tty, out, cap);
    (void)tcsetattr(tty, TCSAFLUSH, &shown);
    if (write(tty, "\n", 1) < 0) {
        return -1;
    }
    return n;
}

int bk_secret_from_terminal(const char *prompt, char *out, size_t cap)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    int n;

    if (tty < 0) {
        return -1;
    }
    n = read_hidden(tty, prompt, out, cap);
    close(tty);
    return n;
}

int bk_secret_from_file(int fd, char *out, size_t cap)
{
    return read_line(fd, out, cap);
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
    got = read_line(STDIN_FILENO, out, cap - 1);
    if (got < 0) {
        fprintf(stderr, "%s: no join token on standard input\n", program);
        return false;
    }
    out[got] = '\0';
    return true;
}

bool bk_confirm_on_terminal(const char *question)
{
    char answer[8];
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    int n = -1;

    if (tty < 0) {
        return false;
    }
    if (write(tty, question, strlen(question)) >= 0) {
        n = read_line(tty, answer, sizeof answer);
    }
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
