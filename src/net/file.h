/* Small files, written whole or not at all: temporary file, fsync, rename (or link, which refuses to
 * overwrite), fsync of the folder. */
#ifndef BK_NET_FILE_H
#define BK_NET_FILE_H

#include "base/err.h"
#include "base/slice.h"

/* `mode` as for chmod (0600). Written by root, the file belongs to the folder's owner. BK_E_EXISTS if there and not `overwrite`; BK_E_IO, errno tells. */
BK_NODISCARD enum bk_err bk_file_save(const char *path, struct bk_slice bytes, unsigned mode,
                                      bool overwrite);

/* The same for a file of an open folder, always in place of what there is (a symbolic link too, not what it
 * points to): nobody who can write there can lead the writing elsewhere. */
BK_NODISCARD enum bk_err bk_file_save_at(int folder, const char *name, struct bk_slice bytes,
                                         unsigned mode);

/* Reads a whole regular file of at most `cap` bytes. BK_E_NOTFOUND, BK_E_IO, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_file_load(const char *path, uint8_t *buf, size_t cap, size_t *n);
/* Of an open folder; no symbolic link (BK_E_IO, ELOOP). */
BK_NODISCARD enum bk_err bk_file_load_at(int folder, const char *name, uint8_t *buf, size_t cap,
                                         size_t *n);

#endif
