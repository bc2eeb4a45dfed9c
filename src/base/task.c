/* SPDX-License-Identifier: Apache-2.0
 * Threads that are joined. */
#include "task.h"

#include <pthread.h>

struct pum_task_thread {
    pthread_t id;
    void (*fn)(void *user);
    void *user;
};

static void *run(void *data)
{
    struct pum_task_thread *t = data;
    t->fn(t->user);
    return NULL;
}

bool pum_task_start(pum_task *task, void (*fn)(void *user), void *user)
{
    struct pum_task_thread *t = pum_alloc(sizeof *t);
    task->thread = NULL;
    if (!t) return false;
    t->fn = fn;
    t->user = user;
    if (pthread_create(&t->id, NULL, run, t) != 0) {
        pum_free(t);
        return false;
    }
    task->thread = t;
    return true;
}

void pum_task_join(pum_task *task)
{
    if (!task->thread) return;
    pthread_join(task->thread->id, NULL);
    pum_free(task->thread);
    task->thread = NULL;
}
