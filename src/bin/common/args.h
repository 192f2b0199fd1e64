/* What the thin programs share beside their options: error lines, passwords from a terminal, and signals
 * that stop a run. */
#ifndef BK_BIN_COMMON_ARGS_H
#define BK_BIN_COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "beckon/beckon.h"

/* "PROGRAM: text" on standard error; returns the status. */
int bk_report(const char *program, const struct beckon_error *error);
int bk_usage(const char *program, const char *text);
/* Whether what was printed has gone out; else after one line. Returns the status. */
int bk_printed(const char *program);

/* A secret of one line, without its newline: from the controlling terminal without echo, or from a
 * descriptor. Its length, or -1 (no terminal, nothing there, longer than `cap`, stopped by a signal). */
int bk_secret_from_terminal(const char *prompt, char *out, size_t cap);
int bk_secret_from_file(int fd, char *out, size_t cap);

/* A join token given as an argument, or read from standard input for "-" (arguments show in ps). False
 * after printing one line. */
bool bk_token_argument(const char *program, const char *argument, char *out, size_t cap);

/* Asks on the controlling terminal; true only for the answer "yes". */
bool bk_confirm_on_terminal(const char *question);

/* SIGINT, SIGTERM and SIGHUP call `stop(ctx)`, which must be async-signal-safe; SIGPIPE is ignored. */
void bk_signals_stop(void (*stop)(void *ctx), void *ctx);
/* From now on those signals do nothing: what they would stop is being taken down. */
void bk_signals_ignore(void);

#endif
