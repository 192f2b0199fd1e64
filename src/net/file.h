/* Small files, written whole or not at all: temporary file, fsync, rename (or link, which refuses to
 * overwrite), fsync of the folder. */
#ifndef BK_NET_FILE_H
#define BK_NET_FILE_H

#include "base/err.h"
#include "base/slice.h"

/* `mode` as for chmod (0600). Written by root, the file belongs to the folder's owner. BK_E_EXISTS if there and not `overwrite`; BK_E_IO, errno tells. */
BK_NODISCARD enum bk_err bk_file_save(const char *path, struct bk_slice bytes, unsigned mode,
                                      bool overwrite);

/* Reads a whole regular file of at most `cap` bytes. BK_E_NOTFOUND, BK_E_IO, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_file_load(const char *path, uint8_t *buf, size_t cap, size_t *n);

#endif
