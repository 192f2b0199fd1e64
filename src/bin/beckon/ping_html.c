/* What `beckon ping` found, drawn: one HTML page with an inline SVG waterfall and a style of its own, no script, nothing
 * loaded. Every text that is not ours is escaped on its way out. */
#include <string.h>

#include "bin/beckon/ping.h"

enum {
    WIDTH = 1080,
    LABELS = 330, /* columns of the drawing: names, */
    CHART = 620,  /* bars, */
    ROW = 30,     /* and what a row takes */
    HEAD = 34,    /* the axis */
    SECTION = 30, /* a heading between rows */
    TICKS_MAX = 8,
};

static const char style[] =
    ":root{--bg:#f6f7f9;--card:#fff;--ink:#1d2430;--dim:#667085;--line:#e4e7ec;--phase:#4f6bed;"
    "--won:#12936a;--need:#3b82c4;--none:#b8892b;--fail:#d0453b;--not:#98a2b3}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1b2029;--ink:#e7eaf0;"
    "--dim:#98a2b3;--line:#2c333f;--phase:#7f95ff;--won:#35c08e;--need:#62a8e5;--none:#dcae4d;"
    "--fail:#f0736a;--not:#6b7686}}\n"
    "*{box-sizing:border-box}body{margin:0;padding:2.5rem 1.25rem;background:var(--bg);"
    "color:var(--ink);font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",sans-serif}\n"
    "main{max-width:72rem;margin:0 auto}h1{font-size:1.6rem;margin:0;letter-spacing:-.01em}"
    "h2{font-size:1rem;margin:0 0 .9rem}p{margin:.2rem 0}.dim{color:var(--dim)}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:1rem;margin:1.4rem 0}"
    ".fact,section{background:var(--card);border:1px solid var(--line);border-radius:12px}"
    ".fact{padding:.8rem 1.1rem;flex:1 1 10rem}.fact b{display:block;font-size:1.25rem;"
    "font-weight:600;overflow-wrap:anywhere}.fact span{color:var(--dim);font-size:.85rem}\n"
    "section{padding:1.2rem 1.3rem;margin-bottom:1.2rem;overflow-x:auto}"
    "svg{display:block;width:100%;min-width:46rem;height:auto}"
    "svg text{fill:var(--ink);font-size:13px}svg .dim,svg .axis{fill:var(--dim)}"
    "svg .axis{font-size:11px}svg .head{font-weight:600;font-size:12px;fill:var(--dim)}"
    ".grid{stroke:var(--line);stroke-width:1}.up{stroke:var(--won);stroke-width:1.5;"
    "stroke-dasharray:4 4}\n"
    ".phase{fill:var(--phase)}.won{fill:var(--won)}.need{fill:var(--need)}.none{fill:var(--none)}"
    ".fail{fill:var(--fail)}.not{fill:var(--not)}.seek{fill-opacity:.3}\n"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.45rem .8rem .45rem 0;"
    "border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--dim);font-weight:500;"
    "font-size:.85rem}tr:last-child td{border-bottom:0}td.num{font-variant-numeric:tabular-nums;"
    "white-space:nowrap}code{font:13px "
    "ui-monospace,monospace;white-space:nowrap}.legend{margin-top:.8rem;font-size:.85rem}\n"
    ".tag{display:inline-block;padding:0 .55rem;border-radius:99px;color:#fff;font-size:.8rem;"
    "white-space:nowrap}.tag.won{background:var(--won)}.tag.need{background:var(--need)}"
    ".tag.none{background:var(--none)}.tag.fail{background:var(--fail)}"
    ".tag.not{background:var(--not)}.bad{border-left:4px solid var(--fail)}\n";

struct page {
    FILE *out;
    const struct ping_result *result;
    uint64_t span_us;
    int y; /* of the next row */
};

/* Of ours: as it is. What goes wrong is asked of the stream at the end. */
static void put(const struct page *p, const char *markup)
{
    (void)fputs(markup, p->out);
}

static void text(const struct page *p, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '&':
            put(p, "&amp;");
            break;
        case '<':
            put(p, "&lt;");
            break;
        case '>':
            put(p, "&gt;");
            break;
        case '"':
            put(p, "&quot;");
            break;
        case '\'':
            put(p, "&#39;");
            break;
        default:
            /* Nothing that steers a terminal or is no character of XML. */
            (void)fputc((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s, p->out);
        }
    }
}

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static const char *class_of(enum beckon_outcome outcome)
{
    switch (outcome) {
    case BECKON_OUTCOME_WON:
        return "won";
    case BECKON_OUTCOME_NOT_NEEDED:
        return "need";
    case BECKON_OUTCOME_PENDING:
    case BECKON_OUTCOME_NO_CONNECTION:
        return "none";
    case BECKON_OUTCOME_FAILED:
        return "fail";
    case BECKON_OUTCOME_NOT_GATHERED:
    case BECKON_OUTCOME_NOT_TRIED:
        break;
    }
    return "not";
}

/* ---- the drawing ---- */

static double x_of(const struct page *p, uint64_t us)
{
    uint64_t at = us < p->span_us ? us : p->span_us;

    return LABELS + (double)at / (double)p->span_us * CHART;
}

/* 1, 2 or 5 times a power of ten, so that there are at most TICKS_MAX of them. */
static uint64_t tick_us(uint64_t span_us)
{
    static const uint64_t factors[] = {1, 2, 5};

    for (uint64_t power = 100; power < UINT64_MAX / 100; power *= 10) {
        for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
            if (span_us / (factors[i] * power) <= TICKS_MAX) {
                return factors[i] * power;
            }
        }
    }
    return span_us;
}

static void draw_axis(const struct page *p, int height)
{
    uint64_t step = tick_us(p->span_us);

    for (uint64_t at = 0; at <= p->span_us; at += step) {
        double x = x_of(p, at);

        (void)fprintf(p->out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>",
                      x, HEAD - 8, x, height);
        (void)fprintf(
            p->out,
            "<text class=\"axis\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g ms</text>\n", x,
            HEAD - 14, ms(at));
    }
    if (p->result->report->phases.up_us != 0) {
        double x = x_of(p, p->result->report->phases.up_us);

        (void)fprintf(p->out, "<line class=\"up\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n",
                      x, HEAD - 8, x, height);
    }
}

static void draw_bar(const struct page *p, const char *class, uint64_t from, uint64_t to)
{
    double x = x_of(p, from), width = x_of(p, to) - x;

    (void)fprintf(p->out,
                  "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"4\"/>",
                  class, x, p->y + 7, width > 3 ? width : 3, ROW - 14);
}

static void draw_end(const struct page *p, uint64_t end)
{
    (void)fprintf(p->out, "<text class=\"dim\" x=\"%d\" y=\"%d\">%.1f ms</text>",
                  LABELS + CHART + 14, p->y + 20, ms(end));
}

static void draw_heading(struct page *p, const char *words)
{
    (void)fprintf(p->out, "<text class=\"head\" x=\"0\" y=\"%d\">%s</text>\n", p->y + 20, words);
    p->y += SECTION;
}

static void draw_phases(struct page *p)
{
    struct ping_phase phases[PING_PHASES];

    ping_phases(&p->result->report->phases, phases);
    draw_heading(p, "PHASES OF THE CALL");
    for (size_t i = 0; i < PING_PHASES; i++) {
        if (phases[i].ended_us == 0) {
            continue;
        }
        (void)fprintf(p->out,
                      "<g><title>%s: %.1f to %.1f ms</title><text x=\"0\" y=\"%d\">%s</text>",
                      phases[i].text, ms(phases[i].begun_us), ms(phases[i].ended_us), p->y + 20,
                      phases[i].text);
        draw_bar(p, "phase", phases[i].begun_us, phases[i].ended_us);
        draw_end(p, phases[i].ended_us);
        put(p, "</g>\n");
        p->y += ROW;
    }
}

static uint64_t end_of(const struct beckon_candidate *c)
{
    return c->ended_us != 0 ? c->ended_us : c->known_us;
}

static void draw_candidate(struct page *p, const struct beckon_candidate *c)
{
    const char *class = class_of(c->outcome);
    uint64_t known = c->known_us != 0 ? c->known_us : end_of(c);
    char seek[16];

    put(p, "<g><title>");
    text(p, beckon_outcome_name(c->outcome));
    if (c->reason[0] != '\0') {
        put(p, ": ");
        text(p, c->reason);
    }
    (void)fprintf(p->out, "</title><text x=\"0\" y=\"%d\">%s ", p->y + 20,
                  beckon_path_name(c->kind));
    put(p, "<tspan class=\"dim\">");
    text(p, c->address[0] != '\0' ? c->address : "none");
    put(p, "</tspan></text>");
    (void)snprintf(seek, sizeof seek, "%s seek", class);
    if (known > c->begun_us) {
        draw_bar(p, seek, c->begun_us, known);
    }
    if (c->known_us != 0) {
        draw_bar(p, class, known, end_of(c) > known ? end_of(c) : known);
    }
    draw_end(p, end_of(c));
    put(p, "</g>\n");
    p->y += ROW;
}

static size_t count(const struct beckon_report *report, bool ours)
{
    size_t n = 0;

    for (size_t i = 0; i < report->n_candidates; i++) {
        n += (report->candidates[i].ours != 0) == ours;
    }
    return n;
}

static void draw_candidates(struct page *p, bool ours, const char *heading)
{
    const struct beckon_report *report = p->result->report;

    if (count(report, ours) == 0) {
        return;
    }
    draw_heading(p, heading);
    for (size_t i = 0; i < report->n_candidates; i++) {
        if ((report->candidates[i].ours != 0) == ours) {
            draw_candidate(p, &report->candidates[i]);
        }
    }
}

static int height_of(const struct ping_result *result)
{
    struct ping_phase phases[PING_PHASES];
    int rows = (int)result->report->n_candidates;
    int headings = 1 + (count(result->report, true) > 0) + (count(result->report, false) > 0);

    ping_phases(&result->report->phases, phases);
    for (size_t i = 0; i < PING_PHASES; i++) {
        rows += phases[i].ended_us != 0;
    }
    return HEAD + headings * SECTION + rows * ROW;
}

static void legend(const struct page *p)
{
    static const enum beckon_outcome shown[] = {BECKON_OUTCOME_WON, BECKON_OUTCOME_NOT_NEEDED,
                                                BECKON_OUTCOME_NO_CONNECTION, BECKON_OUTCOME_FAILED,
                                                BECKON_OUTCOME_NOT_GATHERED};

    put(p, "<p class=\"legend\">");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        (void)fprintf(p->out, "<span class=\"tag %s\">%s</span> ", class_of(shown[i]),
                      beckon_outcome_name(shown[i]));
    }
    put(p, "<span class=\"dim\">Pale: it is looked for. Full: it can be used, until a connection "
           "stands or it is given up. Dashed: the session stands.</span></p>");
}

static void draw(struct page *p)
{
    int height = height_of(p->result);

    (void)fprintf(p->out,
                  "<section><h2>Where the time went</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" "
                  "aria-label=\"Waterfall of the call\">\n",
                  WIDTH, height + 8);
    draw_axis(p, height);
    p->y = HEAD;
    draw_phases(p);
    draw_candidates(p, true, "OUR ADDRESSES");
    draw_candidates(p, false, "THE DEVICE&#39;S ADDRESSES");
    put(p, "</svg>\n");
    legend(p);
    put(p, "</section>\n");
}

/* ---- words ---- */

static void facts(const struct page *p)
{
    const struct ping_result *r = p->result;
    double sum = 0, best = 0;

    for (size_t i = 0; i < r->n_round_trips; i++) {
        sum += r->round_trips_ms[i];
        best = i == 0 || r->round_trips_ms[i] < best ? r->round_trips_ms[i] : best;
    }
    put(p, "<div class=\"facts\">");
    if (r->report->phases.path[0] != '\0') {
        put(p, "<div class=\"fact\"><span>path</span><b>");
        text(p, r->report->phases.path);
        put(p, "</b></div>");
    }
    if (r->report->phases.up_us != 0) {
        (void)fprintf(p->out,
                      "<div class=\"fact\"><span>connected after</span><b>%.1f ms</b></div>",
                      ms(r->report->phases.up_us));
    }
    if (r->n_round_trips > 0) {
        (void)fprintf(p->out,
                      "<div class=\"fact\"><span>round trip, best of %zu</span><b>%.1f ms</b></div>"
                      "<div class=\"fact\"><span>round trip, mean</span><b>%.1f ms</b></div>",
                      r->n_round_trips, best, sum / (double)r->n_round_trips);
    }
    put(p, "</div>\n");
    if (r->error != NULL) {
        put(p, "<section class=\"bad\"><h2>The call failed: ");
        text(p, beckon_status_name(r->error->status));
        put(p, "</h2><p>");
        text(p, r->error->text);
        put(p, "</p></section>\n");
    }
}

static void table(const struct page *p)
{
    const struct beckon_report *report = p->result->report;

    put(p,
        "<section><h2>Every address, and what came of it</h2>\n<table><thead><tr><th>side</th>"
        "<th>kind</th><th>address</th><th>outcome</th><th>from</th><th>to</th><th>reason</th></tr>"
        "</thead><tbody>\n");
    for (size_t i = 0; i < report->n_candidates; i++) {
        const struct beckon_candidate *c = &report->candidates[i];

        (void)fprintf(p->out, "<tr><td>%s</td><td>%s</td><td><code>", c->ours ? "ours" : "device",
                      beckon_path_name(c->kind));
        text(p, c->address[0] != '\0' ? c->address : "–");
        (void)fprintf(
            p->out,
            "</code></td><td><span class=\"tag %s\">%s</span></td><td class=\"num\">%.1f ms</td>"
            "<td class=\"num\">%.1f ms</td><td>",
            class_of(c->outcome), beckon_outcome_name(c->outcome), ms(c->begun_us), ms(end_of(c)));
        text(p, c->reason);
        put(p, "</td></tr>\n");
    }
    put(p, "</tbody></table></section>\n");
}

bool ping_html(FILE *out, const struct ping_result *result)
{
    struct page p = {.out = out, .result = result, .span_us = ping_span_us(result->report)};

    put(&p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
            "<meta name=\"viewport\" content=\"width=device-width, "
            "initial-scale=1\"/>\n<title>beckon ping ");
    text(&p, result->device);
    put(&p, "</title>\n<style>\n");
    put(&p, style);
    put(&p, "</style>\n</head>\n<body>\n<main>\n<h1>Device ");
    text(&p, result->device);
    put(&p, "</h1>\n<p class=\"dim\">beckon ping, ");
    text(&p, result->when);
    put(&p, "</p>\n");
    facts(&p);
    draw(&p);
    table(&p);
    put(&p, "</main>\n</body>\n</html>\n");
    return ferror(out) == 0;
}
