/* beckon-agent uri: the device's beckon:// URI, and on a terminal a QR code of it. */
#include <qrencode.h>
#include <stdio.h>
#include <unistd.h>

#include "bin/beckon-agent/command.h"

enum {
    URI_BYTES = 400,
    QUIET_ZONE = 2, /* modules of light around the code */
};

static bool dark(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width &&
           (code->data[y * code->width + x] & 1) != 0;
}

/* Two rows of modules a line of text; light modules are drawn, for terminals are mostly dark. */
static void print_code(const QRcode *code)
{
    static const char *const blocks[2][2] = {{"\u2588", "\u2580"}, {"\u2584", " "}};

    for (int y = -QUIET_ZONE; y < code->width + QUIET_ZONE; y += 2) {
        for (int x = -QUIET_ZONE; x < code->width + QUIET_ZONE; x++) {
            (void)fputs(blocks[dark(code, x, y)][dark(code, x, y + 1)], stdout);
        }
        putchar('\n');
    }
}

int cmd_uri(int argc, char **argv)
{
    const char *state;
    char uri[URI_BYTES];
    struct beckon_error error;
    int n_rest;

    if (!agent_options_read(argc, argv, &state, NULL, 0, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon-agent", "uri takes no arguments");
    }
    if (beckon_agent_uri(state, uri, sizeof uri, &error) != BECKON_OK) {
        return bk_report("beckon-agent", &error);
    }
    puts(uri);
    if (isatty(STDOUT_FILENO)) {
        QRcode *code = QRcode_encodeString8bit(uri, 0, QR_ECLEVEL_L);

        if (code != NULL) {
            print_code(code);
            QRcode_free(code);
        }
    }
    return bk_printed("beckon-agent");
}
