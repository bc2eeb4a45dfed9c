/* SPDX-License-Identifier: Apache-2.0
 * One line of the user's: with editing and history on a terminal where libedit was there at build
 * time, plainly elsewhere. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef PUMICE_HAVE_LIBEDIT
#include <editline/readline.h>

static char *edit_line(void)
{
    char *line = readline(CLI_PROMPT);
    if (line && line[0]) add_history(line);
    return line;
}
#endif

/* A line of any length without its end; NULL at the end of the input. */
static char *plain_line(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n = getline(&line, &capacity, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    if (n && line[n - 1] == '\n') line[--n] = '\0';
    if (n && line[n - 1] == '\r') line[--n] = '\0';
    return line;
}

char *cli_line_read(void)
{
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
#ifdef PUMICE_HAVE_LIBEDIT
    if (terminal) return edit_line();
#endif
    if (terminal) {
        fputs(CLI_PROMPT, stdout);
        fflush(stdout);
    }
    return plain_line();
}
