/* What a program does before it opens anything. */
#ifndef BK_BIN_COMMON_DESCRIPTORS_H
#define BK_BIN_COMMON_DESCRIPTORS_H

/* Standard input, output and error that are closed become /dev/null: otherwise the first sockets would get
 * their numbers, and be read and written for them. */
void bk_descriptors_fill(void);

#endif
