/* beckon ssh: runs ssh with "beckon connect" as its ProxyCommand. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckon/command.h"

enum {
    COMMAND_BYTES = 8192,
};

/* A bounded text that remembers whether something did not fit. */
struct text {
    char buf[COMMAND_BYTES];
    size_t n;
    bool full;
};

static void put(struct text *t, const char *s, size_t n)
{
    if (n >= sizeof t->buf - t->n) {
        t->full = true;
        return;
    }
    memcpy(t->buf + t->n, s, n);
    t->n += n;
    t->buf[t->n] = '\0';
}

/* A word and a space, as the shell takes it literally, with ssh's own % expansion kept out. */
static void put_word(struct text *t, const char *word)
{
    put(t, "'", 1);
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            put(t, "'\\''", 4);
        } else if (*word == '%') {
            put(t, "%%", 2);
        } else {
            put(t, word, 1);
        }
    }
    put(t, "' ", 2);
}

static void put_option(struct text *t, const char *name, const char *value)
{
    if (value != NULL) {
        put_word(t, name);
        put_word(t, value);
    }
}

/* "BECKON connect --state ... DEVICE ssh"; ssh itself puts "exec" before it. */
static bool proxy_command(const struct call_options *options, const char *device, struct text *t)
{
    static const char prefix[] = "ProxyCommand=";
    char self[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0) {
        return false;
    }
    self[n] = '\0';
    put(t, prefix, sizeof prefix - 1);
    put_word(t, self);
    put_word(t, "connect");
    put_option(t, "--state", options->state);
    put_option(t, "--listen", options->listen);
    put_option(t, "--advertise", options->advertise);
    put_option(t, "--path", options->paths);
    put_option(t, "--password-file", options->password_file);
    if (options->accept_new) {
        put_word(t, "--accept-new");
    }
    if (options->verbose) {
        put_word(t, "-v");
    }
    put_word(t, device);
    put_word(t, "ssh");
    return !t->full;
}

/* Everything after "--" belongs to ssh; bk_options_parse must not see it. */
static int split_at_dashes(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            return i;
        }
    }
    return argc;
}

int cmd_ssh(int argc, char **argv)
{
    struct call_options options = {0};
    static struct text proxy; /* large, and used once */
    char alias[128];
    int n_rest, own = split_at_dashes(argc, argv);
    int n_ssh = argc > own ? argc - own - 1 : 0;
    const char *device, *at;
    char **ssh;
    int n = 0;

    if (!call_options_read(own, argv, &options, NULL, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1) {
        return bk_usage("beckon", "ssh takes [USER@]DEVICE, and -- before arguments for ssh");
    }
    at = strrchr(argv[1], '@');
    device = at == NULL ? argv[1] : at + 1;
    ssh = calloc((size_t)n_ssh + 8, sizeof *ssh);
    if (ssh == NULL || !proxy_command(&options, device, &proxy) ||
        snprintf(alias, sizeof alias, "HostKeyAlias=beckon-%s", device) >= (int)sizeof alias) {
        free(ssh);
        return bk_usage("beckon", "these arguments are too long");
    }
    ssh[n++] = (char[]){"ssh"};
    ssh[n++] = (char[]){"-o"};
    ssh[n++] = proxy.buf;
    ssh[n++] = (char[]){"-o"};
    ssh[n++] = alias;
    ssh[n++] = argv[1];
    for (int i = 0; i < n_ssh; i++) {
        ssh[n++] = argv[own + 1 + i];
    }
    (void)signal(SIGPIPE, SIG_DFL); /* ssh shall find it as a shell would leave it */
    execvp("ssh", ssh);
    fprintf(stderr, "beckon: ssh cannot be started: %s; install openssh-client\n", strerror(errno));
    free(ssh);
    return BECKON_FAILED;
}
