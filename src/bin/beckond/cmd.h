/* The subcommands, one file each, and the few steps that several share (cmd.c). */
#ifndef BK_BECKOND_CMD_H
#define BK_BECKOND_CMD_H

#include "bin/beckond/config.h"
#include "bin/beckond/store.h"
#include "bin/common/options.h"

struct bk_command {
    const char *name;
    const char *summary;
    const char *help;
    enum beckon_status (*run)(int argc, char **argv); /* argv[0] is the subcommand */
};

extern const struct bk_command bk_cmd_init;
extern const struct bk_command bk_cmd_run;
extern const struct bk_command bk_cmd_token;
extern const struct bk_command bk_cmd_devices;
extern const struct bk_command bk_cmd_grant;
extern const struct bk_command bk_cmd_ungrant;
extern const struct bk_command bk_cmd_revoke;
extern const struct bk_command bk_cmd_epoch;
extern const struct bk_command bk_cmd_sign;

/* All of these say on standard error what is wrong. */

/* Options, and exactly `n_words` words. */
enum beckon_status bk_cmd_options(int argc, char **argv, const struct bk_option *options,
                                  size_t n_options, const char **words, size_t n_words);

/* The configuration: `file`, or DIR/beckond.conf where that is NULL. */
enum beckon_status bk_cmd_config(const char *dir, const char *file, struct bk_config *out);
enum beckon_status bk_cmd_store(const char *dir, struct bk_store **out);
/* FAILED, with what the store says. */
enum beckon_status bk_cmd_store_failed(const struct bk_store *s);
/* An equipment ID or name that the store knows. */
enum beckon_status bk_cmd_resolve(struct bk_store *s, const char *device, uint64_t *equipment_id);
enum beckon_status bk_cmd_user_name(const char *user);
/* Seconds since 1970; FAILED if the clock has never been set. */
enum beckon_status bk_cmd_clock(uint64_t *unix_s);

#endif
