/* authorized_users: what counts, what does not, and who may write it. */
#include "lib/place.h"

#include "lib/authorized.h"
#include "seal/seal.h"

static struct bk_agent_config config = {.n_accesses = 2,
                                        .accesses = {{.name = "owner"}, {.name = "lodger"}}};
static uint8_t keys[3][BK_KEY_BYTES];
static char texts[3][BK_CALLER_KEY_TEXT_BYTES];
static char last[512]; /* line of the log */
static unsigned lines;

static void on_line(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    lines++;
    (void)snprintf(last, sizeof last, "%s", line);
}

static enum bk_err find(const struct place *p, const uint8_t *key, struct bk_authorized *out)
{
    lines = 0;
    last[0] = '\0';
    return bk_authorized_find(p->dir, &config, key, on_line, NULL, out);
}

static char file[2048];

static void put_file(const struct place *p)
{
    char path[160];

    place_write_text(p, "authorized_users", file);
    place_path(p, "authorized_users", path);
    assert_int_equal(chmod(path, 0600), 0);
}

#define put(p, ...) ((void)snprintf(file, sizeof file, __VA_ARGS__), put_file(p))

static void test_found(void **state)
{
    struct place *p = *state;
    struct bk_authorized got;

    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND); /* no file: nothing to say */
    assert_int_equal(lines, 0);
    put(p, "# keys\n\n%s alice-laptop\n\t%s\tbob@work  lodger \r\n%s carol owner", texts[0],
        texts[1], texts[2]);
    assert_int_equal(find(p, keys[0], &got), BK_OK);
    assert_string_equal(got.name, "alice-laptop");
    assert_string_equal(got.access, "owner");
    assert_int_equal(find(p, keys[1], &got), BK_OK);
    assert_string_equal(got.name, "bob@work");
    assert_string_equal(got.access, "lodger");
    assert_int_equal(find(p, keys[2], &got), BK_OK); /* a last line without an end */
    assert_string_equal(got.name, "carol");
    assert_int_equal(lines, 0);
    put(p, "%s alice\n%s second lodger\n", texts[0], texts[0]);
    assert_int_equal(find(p, keys[0], &got), BK_OK);
    assert_string_equal(got.access, "owner"); /* the first line counts */
    assert_int_equal(find(p, keys[1], &got), BK_E_NOTFOUND);
}

/* A wrong line is named and left out; the others count. */
static void test_wrong_lines(void **state)
{
    static const struct {
        const char *before;
        int key_bytes; /* of the key's text */
        const char *after;
    } wrong[] = {
        {"", 43, ""},
        {"", 43, " al/ice"},
        {"", 43, " alice lodger more"},
        {"", 43, " alice Lodger"},
        {"x", 43, " alice"},
        {"", 40, " alice"},
        {"", 43, " a\x01"},
        {"", 43, " alice\x7f"},
        {"", 43, " \xc3\xa4"},
    };
    struct place *p = *state;
    struct bk_authorized got;
    char line[700], wanted[64];

    for (size_t i = 0; i < COUNT(wrong); i++) {
        (void)snprintf(line, sizeof line, "%s%.*s%s", wrong[i].before, wrong[i].key_bytes, texts[0],
                       wrong[i].after);
        put(p, "#\n%s\n%s bob\n", line, texts[1]);
        assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
        assert_int_equal(lines, 1);
        assert_non_null(strstr(last, "/authorized_users:2: not \"KEY NAME [ACCESS]\""));
        assert_int_equal(find(p, keys[1], &got), BK_OK);
    }
    put(p, "%s alice stranger\n%s bob\n", texts[0], texts[1]);
    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
    assert_non_null(strstr(last, "authorized_users:1: no such [access] in agent.conf"));

    memset(line, 'n', sizeof line);
    (void)snprintf(wanted, sizeof wanted, "authorized_users:1: longer than 512 bytes");
    put(p, "%s %.600s\n%s bob\n", texts[0], line, texts[1]);
    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
    assert_non_null(strstr(last, wanted));
    assert_int_equal(find(p, keys[1], &got), BK_OK);
    put(p, "%s %.64s\n", texts[0], line); /* a name too long by one */
    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
    put(p, "%s %.63s\n", texts[0], line);
    assert_int_equal(find(p, keys[0], &got), BK_OK);
}

/* The tail of a line that is too long, or holds a zero byte, is no line of its own. */
static void test_no_smuggling(void **state)
{
    struct place *p = *state;
    struct bk_authorized got;
    char text[1200], path[160];
    size_t n;

    memset(text, '#', 512);
    n = 512 + (size_t)snprintf(text + 512, sizeof text - 512, "%s alice\n", texts[0]);
    place_write(p, "authorized_users", text, n);
    place_path(p, "authorized_users", path);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
    memset(text, '\0', 511);
    place_write(p, "authorized_users", text, n);
    assert_int_equal(find(p, keys[0], &got), BK_E_NOTFOUND);
}

static void test_hundreds(void **state)
{
    struct place *p = *state;
    struct bk_random rng = bk_random_system();
    struct bk_authorized got;
    uint8_t key[BK_KEY_BYTES];
    char path[160], text[BK_CALLER_KEY_TEXT_BYTES];
    FILE *f;

    place_path(p, "authorized_users", path);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    for (unsigned i = 0; i < 500; i++) {
        rng.fill(rng.ctx, key, sizeof key);
        bk_caller_key_format(key, text);
        assert_true(fprintf(f, "%s k%u\n", text, i) > 0);
    }
    assert_true(fprintf(f, "%s last\n", texts[0]) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(find(p, keys[0], &got), BK_OK);
    assert_string_equal(got.name, "last");
    assert_int_equal(find(p, keys[1], &got), BK_E_NOTFOUND);
}

/* What is not read is said once, and only where there is such a line and it was looked for. */
static void test_too_many(void **state)
{
    struct place *p = *state;
    struct bk_authorized got;
    char path[160];
    FILE *f;

    place_path(p, "authorized_users", path);
    for (unsigned n = 4095; n <= 4097; n++) {
        f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fchmod(fileno(f), 0600), 0);
        assert_true(fprintf(f, "%s first\n", texts[1]) > 0);
        for (unsigned i = 1; i < n; i++) {
            assert_true(fputs("#\n", f) >= 0);
        }
        assert_true(fprintf(f, "%s last\n", texts[0]) > 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(find(p, keys[0], &got), n < 4096 ? BK_OK : BK_E_NOTFOUND);
        assert_int_equal(lines, n < 4096 ? 0 : 1);
        assert_true(n < 4096 || strstr(last, "lines beyond 4096 are not read") != NULL);
        assert_int_equal(find(p, keys[1], &got), BK_OK);
        assert_int_equal(lines, 0);
        assert_int_equal(find(p, keys[2], &got), BK_E_NOTFOUND);
        assert_int_equal(lines, n < 4096 ? 0 : 1);
    }
}

static void test_mode(void **state)
{
    static const mode_t open_to_others[] = {0620, 0602, 0666};
    struct place *p = *state;
    struct bk_authorized got;
    char path[160];

    put(p, "%s alice\n", texts[0]);
    place_path(p, "authorized_users", path);
    assert_int_equal(chmod(path, 0644), 0); /* reading is fine */
    assert_int_equal(find(p, keys[0], &got), BK_OK);
    for (size_t i = 0; i < COUNT(open_to_others); i++) {
        assert_int_equal(chmod(path, open_to_others[i]), 0);
        assert_int_equal(find(p, keys[0], &got), BK_E_AUTH);
        assert_int_equal(lines, 1);
        assert_non_null(strstr(last, "may be written by others"));
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* would wait for ever */
    assert_int_equal(find(p, keys[0], &got), BK_E_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(find(p, keys[0], &got), BK_E_IO);
    assert_non_null(strstr(last, "not a file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_found),    WITH_PLACE(test_wrong_lines), WITH_PLACE(test_no_smuggling),
        WITH_PLACE(test_hundreds), WITH_PLACE(test_too_many),    WITH_PLACE(test_mode),
    };

    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    for (size_t i = 0; i < COUNT(keys); i++) {
        memset(keys[i], (int)i + 1, sizeof keys[i]);
        bk_caller_key_format(keys[i], texts[i]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
