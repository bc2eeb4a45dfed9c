/* SPDX-License-Identifier: Apache-2.0
 * Work on a thread of its own, which is always joined. */
#ifndef PUM_TASK_H
#define PUM_TASK_H

#include <stdatomic.h>

#include "base.h"

typedef struct pum_task {
    struct pum_task_thread *thread; /* NULL = none runs */
} pum_task;

/* Runs fn(user) beside the caller. False when there is no thread to be had: nothing was started. */
bool pum_task_start(pum_task *task, void (*fn)(void *user), void *user);
/* Waits until it has ended; fine on a zeroed task. */
void pum_task_join(pum_task *task);

#endif
