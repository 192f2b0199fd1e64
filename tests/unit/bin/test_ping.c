/* The page of `beckon ping --html`: whatever comes from outside is escaped, and the drawing stays within its frame. */
#include "lib/place.h"

#include "bin/beckon/ping.h"

static char page[256 * 1024];

static void draw(const struct ping_result *result)
{
    FILE *out = fmemopen(page, sizeof page, "w");

    assert_non_null(out);
    assert_true(ping_html(out, result));
    assert_int_equal(fclose(out), 0);
    assert_true(strlen(page) < sizeof page - 1);
}

static bool has(const char *text)
{
    return strstr(page, text) != NULL;
}

static void test_escaped(void **state)
{
    static struct beckon_report report = {.n_candidates = 1, .ended_us = 1000};
    struct beckon_error error = {BECKON_FAILED,
                                 "it said <script>alert('1')</script> & \"2\"\x1b[0m"};
    struct ping_result result = {
        .device = "<b>\"2133\"</b>", .when = "now", .report = &report, .error = &error};

    (void)state;
    report.candidates[0].kind = BECKON_PATH_MAPPED;
    (void)snprintf(report.candidates[0].address, sizeof report.candidates[0].address, "a<&'>");
    (void)snprintf(report.candidates[0].reason, sizeof report.candidates[0].reason, "</td><i>");
    (void)snprintf(report.phases.path, sizeof report.phases.path, "<p>");
    draw(&result);
    assert_false(has("<script"));
    assert_false(has("<i>"));
    assert_false(has("<p>\n")); /* of our own there is none that stands alone */
    assert_false(has("\x1b"));
    assert_true(has("Device &lt;b&gt;&quot;2133&quot;&lt;/b&gt;"));
    assert_true(has("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;2&quot;?[0m"));
    assert_true(has("a&lt;&amp;&#39;&gt;"));
    assert_true(has("&lt;/td&gt;&lt;i&gt;"));
    assert_true(has("<b>&lt;p&gt;</b>"));
}

/* Stands by itself: nothing is loaded, nothing runs. */
static void test_alone(void **state)
{
    static struct beckon_report report = {.phases = {.server_us = 7000, .up_us = 45000}};
    const double trips[] = {2.5, 1.5};
    struct ping_result result = {.device = "2133",
                                 .when = "2026-01-01",
                                 .report = &report,
                                 .round_trips_ms = trips,
                                 .n_round_trips = 2};

    (void)state;
    draw(&result);
    assert_false(has("http"));
    assert_false(has("src="));
    assert_false(has("@import"));
    assert_false(has("url("));
    assert_true(has("best of 2</span><b>1.5 ms"));
    assert_true(has("mean</span><b>2.0 ms"));
    assert_true(has("connected after</span><b>45.0 ms"));
}

/* Every row has its bar, one that ends after the drawing too, and none leaves the frame. */
static void test_bars(void **state)
{
    static struct beckon_report report = {
        .phases = {.server_us = 10000, .found_us = 20000, .up_us = 100000}, .n_candidates = 8};
    struct ping_result result = {.device = "2133", .when = "", .report = &report};
    const char *at = page;
    size_t bars = 0;

    (void)state;
    for (size_t i = 0; i < report.n_candidates; i++) {
        report.candidates[i] = (struct beckon_candidate){.ours = i % 2 == 0,
                                                         .kind = BECKON_PATH_HOST,
                                                         .outcome = (enum beckon_outcome)(i % 7),
                                                         .begun_us = 1000 * i,
                                                         .known_us = 2000 * i,
                                                         .ended_us = UINT64_C(3000000) * i};
    }
    draw(&result);
    assert_int_equal(ping_span_us(&report), 120000);
    while ((at = strstr(at, "<rect ")) != NULL) {
        double x = strtod(strstr(at, " x=\"") + 4, NULL);
        double width = strtod(strstr(at, " width=\"") + 8, NULL);

        assert_true(x >= 330 && width >= 3 && x + width <= 330 + 620 + 3.1);
        bars++;
        at++;
    }
    assert_true(bars >= 3 + 8);
}

static void test_phases(void **state)
{
    struct beckon_phases p = {.server_us = 10, .found_us = 30, .requested_us = 40, .up_us = 90};
    struct ping_phase phases[PING_PHASES];
    static struct beckon_report nothing;

    (void)state;
    ping_phases(&p, phases);
    assert_int_equal(phases[0].begun_us, 0);
    assert_int_equal(phases[1].begun_us, 10);
    assert_int_equal(phases[3].ended_us, 0); /* overtaken: not seen */
    assert_string_equal(phases[5].key, "up");
    assert_int_equal(phases[5].begun_us, 40);
    assert_int_equal(phases[5].ended_us, 90);
    assert_int_equal(ping_span_us(&nothing), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escaped),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_bars),
        cmocka_unit_test(test_phases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
