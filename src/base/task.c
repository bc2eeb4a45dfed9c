/* SPDX-License-Identifier: Apache-2.0
 * Threads that are joined, locks and channels between them. */
#include "task.h"

#include <pthread.h>
#include <time.h>
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

/* ---- locks ---- */

struct pum_lock {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

/* A condition whose waits end by the clock of pum_now_ns. */
static bool make_condition(pthread_cond_t *condition)
{
    pthread_condattr_t how;
    if (pthread_condattr_init(&how) != 0) return false;
    bool made = pthread_condattr_setclock(&how, CLOCK_MONOTONIC) == 0 && pthread_cond_init(condition, &how) == 0;
    pthread_condattr_destroy(&how);
    return made;
}

pum_lock *pum_lock_create(void)
{
    pum_lock *l = pum_alloc(sizeof *l);
    if (!l) return NULL;
    if (pthread_mutex_init(&l->mutex, NULL) != 0) {
        pum_free(l);
        return NULL;
    }
    if (make_condition(&l->changed)) return l;
    pthread_mutex_destroy(&l->mutex);
    pum_free(l);
    return NULL;
}

void pum_lock_destroy(pum_lock **lock)
{
    if (!*lock) return;
    pthread_cond_destroy(&(*lock)->changed);
    pthread_mutex_destroy(&(*lock)->mutex);
    pum_free(*lock);
    *lock = NULL;
}

void pum_lock_take(pum_lock *lock) { pthread_mutex_lock(&lock->mutex); }

void pum_lock_give(pum_lock *lock) { pthread_mutex_unlock(&lock->mutex); }

void pum_lock_wait(pum_lock *lock) { pthread_cond_wait(&lock->changed, &lock->mutex); }

void pum_lock_wait_for(pum_lock *lock, uint64_t most_ns)
{
    uint64_t end = pum_now_ns() + most_ns;
    struct timespec at = { .tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000) };
    pthread_cond_timedwait(&lock->changed, &lock->mutex, &at);
}

void pum_lock_wake(pum_lock *lock) { pthread_cond_broadcast(&lock->changed); }

/* ---- channels ---- */

struct pum_channel {
    pum_lock *lock;
    pum_link *first, *last;
};

pum_channel *pum_channel_create(void)
{
    pum_channel *c = pum_alloc(sizeof *c);
    if (c && (c->lock = pum_lock_create())) return c;
    pum_free(c);
    return NULL;
}

void pum_channel_destroy(pum_channel **channel)
{
    if (!*channel) return;
    pum_lock_destroy(&(*channel)->lock);
    pum_free(*channel);
    *channel = NULL;
}

void pum_channel_put(pum_channel *channel, pum_link *item)
{
    pum_channel *c = channel;
    item->next = NULL;
    pum_lock_take(c->lock);
    if (c->last) c->last->next = item;
    else c->first = item;
    c->last = item;
    pum_lock_wake(c->lock);
    pum_lock_give(c->lock);
}

pum_link *pum_channel_take(pum_channel *channel)
{
    pum_channel *c = channel;
    pum_lock_take(c->lock);
    while (!c->first) pum_lock_wait(c->lock);
    pum_link *item = c->first;
    c->first = item->next;
    if (!c->first) c->last = NULL;
    pum_lock_give(c->lock);
    return item;
}
