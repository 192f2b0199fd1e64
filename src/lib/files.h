/* The files of a state directory, by directory and name (net/file.h does the work); mode 0600. */
#ifndef BK_LIB_FILES_H
#define BK_LIB_FILES_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_PATH_BYTES = 1024,
    BK_FILE_MAX_BYTES = 65536,
};

/* BK_E_RANGE if it does not fit. */
BK_NODISCARD enum bk_err bk_file_path(const char *dir, const char *name, char out[BK_PATH_BYTES]);

bool bk_file_exists(const char *dir, const char *name);

/* Reads a file of at most `cap` bytes. BK_E_NOTFOUND, BK_E_IO (errno), BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_file_read(const char *dir, const char *name, uint8_t *out, size_t cap,
                                      size_t *n);
/* BK_E_IO (errno). */
BK_NODISCARD enum bk_err bk_file_write(const char *dir, const char *name, struct bk_slice bytes);
/* No error if there is none. */
void bk_file_remove(const char *dir, const char *name);

/* Makes the directory (and its parents) with mode 0700 unless it exists. BK_E_IO (errno). */
BK_NODISCARD enum bk_err bk_dir_make(const char *dir);

#endif
