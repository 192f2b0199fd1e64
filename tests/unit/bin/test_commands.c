/* The programs as a person runs them, as far as no server is needed: help, versions, exit statuses with one
 * line each, and the command that `beckon ssh` hands to ssh. */
#include "lib/place.h"

#include <sys/wait.h>

enum {
    OUTPUT_BYTES = 16384,
};

struct result {
    int status;
    char out[OUTPUT_BYTES], err[OUTPUT_BYTES];
};

static void slurp(int fd, char out[OUTPUT_BYTES])
{
    size_t n = 0;
    ssize_t got;

    while ((got = read(fd, out + n, OUTPUT_BYTES - 1 - n)) > 0) {
        n += (size_t)got;
    }
    out[n] = '\0';
    close(fd);
}

/* Runs argv with `path` as PATH and nothing on standard input. */
static void run(char *const argv[], const char *path, struct result *r)
{
    int out[2], err[2], status;
    pid_t pid;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        setenv("PATH", path, 1);
        unsetenv("BECKON_PASSWORD");
        setsid(); /* no terminal to ask on */
        dup2(null, 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(argv[0], argv);
        _exit(126);
    }
    close(out[1]);
    close(err[1]);
    slurp(out[0], r->out); /* both are small: neither pipe fills while the other is read */
    slurp(err[0], r->err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    r->status = WEXITSTATUS(status);
}

static void run_line(const char *program, const char *line, struct result *r)
{
    char words[1024], *left;
    char *argv[32] = {words};
    int n = 1;

    (void)snprintf(words, sizeof words, "%s %s", program, line);
    argv[0] = strtok_r(words, " ", &left);
    while ((argv[n] = strtok_r(NULL, " ", &left)) != NULL) {
        n++;
    }
    run(argv, "/usr/bin:/bin", r);
}

static void assert_one_line(const char *text, const char *begin)
{
    const char *newline = strchr(text, '\n');

    if (strncmp(text, begin, strlen(begin)) != 0 || newline == NULL || newline[1] != '\0') {
        fail_msg("not one line that begins with \"%s\": \"%s\"", begin, text);
    }
}

static void test_help(void **state)
{
    static const char *const commands[] = {"join",    "key", "pin", "connect",
                                           "forward", "ssh", "ping"};
    static struct result r;
    char line[64];

    (void)state;
    run_line(BECKON, "--help", &r);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    for (size_t i = 0; i < COUNT(commands); i++) {
        assert_non_null(strstr(r.out, commands[i]));
    }
    for (size_t i = 0; i < COUNT(commands); i++) {
        (void)snprintf(line, sizeof line, "%s --help", commands[i]);
        run_line(BECKON, line, &r);
        assert_int_equal(r.status, 0);
        (void)snprintf(line, sizeof line, "usage: beckon %s ", commands[i]);
        assert_memory_equal(r.out, line, strlen(line));
    }
    run_line(BECKON_AGENT, "--help", &r);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "passwd --state DIR"));
    run_line(BECKON_AGENT, "run --help", &r);
    assert_int_equal(r.status, 0);
    run_line(BECKON, "--version", &r);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "beckon " BECKON_VERSION "\n");
    run_line(BECKON_AGENT, "--version", &r);
    assert_string_equal(r.out, "beckon-agent " BECKON_VERSION "\n");
}

static void test_statuses(void **state)
{
    static const struct {
        const char *program, *line; /* DIR: an empty directory */
        int status;
    } cases[] = {
        {BECKON, "", 2},
        {BECKON, "dance", 2},
        {BECKON, "connect", 2},
        {BECKON, "connect 1 ssh more", 2},
        {BECKON, "connect --state", 2},
        {BECKON, "connect --colour 1", 2},
        {BECKON, "forward 1", 2},
        {BECKON, "ssh", 2},
        {BECKON, "ping 1 -c 0", 2},
        {BECKON, "ping 1 -c x", 2},
        {BECKON, "ping", 2},
        {BECKON, "join --state DIR", 2},
        {BECKON, "join --state DIR beckon1.nonsense", 9},
        {BECKON, "join --state DIR -", 9},
        {BECKON, "pin --state DIR http://h/1", 2},
        {BECKON, "connect --state DIR 1", 15},
        {BECKON, "ping --state DIR 1", 15},
        {BECKON, "forward --state DIR 1 8080:web", 15},
        {BECKON, "connect --state DIR --password-file DIR/none 1", 1},
        {BECKON, "connect --state DIR --advertise 1.2.3.4:5 1", 2},
        {BECKON_AGENT, "", 2},
        {BECKON_AGENT, "dance", 2},
        {BECKON_AGENT, "run", 2},
        {BECKON_AGENT, "run --state", 2},
        {BECKON_AGENT, "run --state DIR more", 2},
        {BECKON_AGENT, "run --state DIR", 15},
        {BECKON_AGENT, "passwd --state DIR", 2}, /* nothing on standard input */
        {BECKON_AGENT, "join --state DIR", 2},
        {BECKON_AGENT, "join --state DIR nonsense", 9},
        {BECKON_AGENT, "uri --state DIR", 15},
        {BECKON_AGENT_CALL, "--state DIR", 2},
    };
    struct place *p = *state;
    static struct result r;
    char line[512];

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t n = 0;

        for (const char *c = cases[i].line; *c != '\0';) {
            if (strncmp(c, "DIR", 3) == 0) {
                n += (size_t)snprintf(line + n, sizeof line - n, "%s", p->dir);
                c += 3;
            } else {
                line[n++] = *c++;
            }
        }
        line[n] = '\0';
        run_line(cases[i].program, line, &r);
        if (r.status != cases[i].status) {
            fail_msg("%s %s: status %d: %s", cases[i].program, line, r.status, r.err);
        }
        assert_one_line(r.err, "beckon");
        assert_string_equal(r.out, "");
    }
}

/* ---- beckon ssh ---- */

static void script(const struct place *p, const char *name, const char *text, char path[160])
{
    place_write_text(p, name, text);
    place_path(p, name, path);
    assert_int_equal(chmod(path, 0700), 0);
}

static const char print_arguments[] =
    "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done\n";

/* The words of a command as ssh would have them after its % expansion and the shell's reading. */
static void words_of(const struct place *p, const char *proxy, struct result *r)
{
    static char command[4096];
    char show[160];
    char shell[] = "/bin/sh", option[] = "-c";
    size_t n;

    script(p, "show", print_arguments, show);
    n = (size_t)snprintf(command, sizeof command, "%s ", show);
    for (; *proxy != '\0'; proxy++) {
        assert_true(n < sizeof command - 1);
        if (*proxy == '%') {
            assert_int_equal(proxy[1], '%'); /* nothing that ssh would expand */
            proxy++;
        }
        command[n++] = *proxy;
    }
    command[n] = '\0';
    run((char *[]){shell, option, command, NULL}, "/usr/bin:/bin", r);
    assert_int_equal(r->status, 0);
}

static void test_ssh(void **state)
{
    static const char odd[] = "/s t'a\"t%h e$HOME;#\\x&`y`";
    struct place *p = *state;
    static struct result r, words;
    static char expected[4096];
    char path[160], directory[1024], *proxy, *rest;
    char *argv[] = {(char[]){BECKON},    (char[]){"ssh"},
                    (char[]){"--state"}, directory,
                    (char[]){"-v"},      (char[]){"--listen"},
                    (char[]){":5000"},   (char[]){"joe@2133"},
                    (char[]){"--"},      (char[]){"-p"},
                    (char[]){"1"},       (char[]){"echo 'a b' %h"},
                    (char[]){"--state"}, NULL};

    (void)snprintf(directory, sizeof directory, "%s", odd);
    script(p, "ssh", print_arguments, path);
    run(argv, p->dir, &r);
    assert_int_equal(r.status, 0);
    assert_memory_equal(r.out, "-o\nProxyCommand=", 16);
    proxy = r.out + 16;
    rest = strchr(proxy, '\n');
    assert_non_null(rest);
    *rest++ = '\0';
    assert_string_equal(rest,
                        "-o\nHostKeyAlias=beckon-2133\njoe@2133\n-p\n1\necho 'a b' %h\n--state\n");
    assert_int_not_equal(strncmp(proxy, "exec", 4), 0); /* ssh puts its own before it */
    words_of(p, proxy, &words);
    (void)snprintf(expected, sizeof expected,
                   "%s\nconnect\n--state\n%s\n--listen\n:5000\n-v\n2133\nssh\n", BECKON, odd);
    assert_string_equal(words.out, expected);
}

/* The real ssh must take the option as it stands, and start the command. */
static void test_real_ssh(void **state)
{
    struct place *p = *state;
    static struct result r;
    char line[256];

    (void)snprintf(line, sizeof line, "ssh --state %s 2133 -- -F none true", p->dir);
    run_line(BECKON, line, &r);
    assert_int_equal(r.status, 255);
    assert_non_null(
        strstr(r.err, "run \"beckon join\" first")); /* from the beckon that ssh started */
}

static void test_no_ssh(void **state)
{
    struct place *p = *state;
    static struct result r;
    char *argv[] = {(char[]){BECKON}, (char[]){"ssh"}, (char[]){"--state"},
                    p->dir,           (char[]){"1"},   NULL};

    run(argv, p->dir, &r);
    assert_int_equal(r.status, 1);
    assert_one_line(r.err, "beckon: ssh cannot be started: No such file or directory; install");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help), WITH_PLACE(test_statuses), WITH_PLACE(test_ssh),
        WITH_PLACE(test_real_ssh),   WITH_PLACE(test_no_ssh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
