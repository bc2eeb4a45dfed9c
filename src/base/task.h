/* SPDX-License-Identifier: Apache-2.0
 * Work on a thread of its own, which is always joined, and how threads hand things to one another. */
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

uint32_t pum_core_count(void); /* of the machine, at least 1 */

/* ---- locks: of what several threads change, and wait for ---- */

typedef struct pum_lock pum_lock;

pum_lock *pum_lock_create(void); /* NULL: no memory */
void pum_lock_destroy(pum_lock **lock);
void pum_lock_take(pum_lock *lock);
void pum_lock_give(pum_lock *lock);
/* Gives the lock until pum_lock_wake, or at most for so long, and takes it again. May end for no reason, so look
 * whether what was waited for is there. */
void pum_lock_wait(pum_lock *lock);
void pum_lock_wait_for(pum_lock *lock, uint64_t most_ns);
void pum_lock_wake(pum_lock *lock); /* all that wait */

/* ---- channels: what one thread hands to another, in order ---- */

/* The first member of what goes through a channel, so that to put it in cannot fail. */
typedef struct pum_link {
    struct pum_link *next;
} pum_link;

typedef struct pum_channel pum_channel;

pum_channel *pum_channel_create(void); /* NULL: no memory */
void pum_channel_destroy(pum_channel **channel); /* what is in it is the caller's to have taken */
void pum_channel_put(pum_channel *channel, pum_link *item);
pum_link *pum_channel_take(pum_channel *channel); /* waits until there is one */

#endif
