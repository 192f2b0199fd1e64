/* The sections of agent.conf that agent_config_access.c reads. All return NULL, or a phrase for what is wrong. */
#ifndef BK_LIB_AGENT_CONFIG_PRIVATE_H
#define BK_LIB_AGENT_CONFIG_PRIVATE_H

#include "lib/agent_config.h"

/* The next word of a list with commas, blanks around it left out; false at the end. An empty word is one. */
bool bk_config_next_word(const char **list, struct bk_slice *out);

/* [access NAME]: checked, but what "services" names is not looked up. */
const char *bk_config_take_access(struct bk_agent_config *config, const char *name, const char *key,
                                  const char *value);
/* "services" of [access NAME], once every service is known. */
const char *bk_config_take_services(struct bk_agent_config *config, const char *name,
                                    const char *value);
const char *bk_config_take_callback(struct bk_agent_config *config, const char *key,
                                    const char *value);

#endif
