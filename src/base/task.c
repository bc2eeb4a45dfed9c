/* SPDX-License-Identifier: Apache-2.0
 * Threads that are joined, and channels between them. */
#include "task.h"

#include <pthread.h>
#include <unistd.h>

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

uint32_t pum_core_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : (uint32_t)PUM_MIN(cores, 65536L);
}

/* ---- channels ---- */

struct pum_channel {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pum_link *first, *last;
};

pum_channel *pum_channel_create(void)
{
    pum_channel *c = pum_alloc(sizeof *c);
    if (!c) return NULL;
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        pum_free(c);
        return NULL;
    }
    if (pthread_cond_init(&c->filled, NULL) == 0) return c;
    pthread_mutex_destroy(&c->lock);
    pum_free(c);
    return NULL;
}

void pum_channel_destroy(pum_channel **channel)
{
    if (!*channel) return;
    pthread_cond_destroy(&(*channel)->filled);
    pthread_mutex_destroy(&(*channel)->lock);
    pum_free(*channel);
    *channel = NULL;
}

void pum_channel_put(pum_channel *channel, pum_link *item)
{
    pum_channel *c = channel;
    item->next = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->last) c->last->next = item;
    else c->first = item;
    c->last = item;
    pthread_cond_signal(&c->filled);
    pthread_mutex_unlock(&c->lock);
}

pum_link *pum_channel_take(pum_channel *channel)
{
    pum_channel *c = channel;
    pthread_mutex_lock(&c->lock);
    while (!c->first) pthread_cond_wait(&c->filled, &c->lock);
    pum_link *item = c->first;
    c->first = item->next;
    if (!c->first) c->last = NULL;
    pthread_mutex_unlock(&c->lock);
    return item;
}
