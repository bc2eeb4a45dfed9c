/* SPDX-License-Identifier: Apache-2.0
 * --mpi: the processes that mpirun started as the ranks of one model. The only place that knows MPI;
 * the library sees two functions. All calls come from the main thread. Waiting sleeps: MPI's own
 * waiting would keep a core busy that a software device needs. */
#include "common.h"

#ifdef PUMICE_HAVE_MPI

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

/* A message on its way: the library takes its memory back at once. */
typedef struct sending {
    struct sending *next;
    MPI_Request request;
    unsigned char data[];
} sending;

static struct {
    int rank, n_ranks; /* n_ranks 0: MPI was not started */
    sending *pending;
    bool broken; /* a rank could not be reached: end the group */
    bool agreed;
} mpi;

/* Frees what has arrived. */
static void reap(bool wait)
{
    for (sending **at = &mpi.pending; *at;) {
        sending *s = *at;
        int done = 0;
        if (wait) MPI_Wait(&s->request, MPI_STATUS_IGNORE);
        else MPI_Test(&s->request, &done, MPI_STATUS_IGNORE);
        if (!wait && !done) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
    }
}

static int failed(void)
{
    mpi.broken = true;
    return 1;
}

static int on_send(void *user, uint32_t rank, const void *data, size_t bytes)
{
    (void)user;
    sending *s = bytes <= INT_MAX ? malloc(sizeof *s + bytes) : NULL;
    if (!s) return failed();
    reap(false);
    memcpy(s->data, data, bytes);
    if (MPI_Isend(s->data, (int)bytes, MPI_BYTE, (int)rank, 0, MPI_COMM_WORLD, &s->request)) {
        free(s);
        return failed();
    }
    s->next = mpi.pending;
    mpi.pending = s;
    return 0;
}

static int on_receive(void *user, uint32_t rank, void *data, size_t bytes)
{
    enum { SPINS = 200 };
    const struct timespec pause = { .tv_nsec = 50000 };
    MPI_Status status;
    int there = 0, count = 0;
    (void)user;
    if (bytes > INT_MAX) return failed();
    for (int spins = 0; !there; spins++) {
        if (MPI_Iprobe((int)rank, 0, MPI_COMM_WORLD, &there, &status)) return failed();
        if (there) break;
        reap(false); /* also moves large messages on */
        if (spins > SPINS) nanosleep(&pause, NULL);
    }
    MPI_Get_count(&status, MPI_BYTE, &count);
    if ((size_t)count != bytes) return failed();
    if (MPI_Recv(data, count, MPI_BYTE, (int)rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE))
        return failed();
    return 0;
}

int cli_mpi_begin(void)
{
    static char lines[4096];
    int got;
    setvbuf(stderr, lines, _IOLBF, sizeof lines); /* whole lines, since ranks write to one place */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &got)) return cli_fail("MPI does not start");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &mpi.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &mpi.n_ranks);
    return CLI_OK;
}

void cli_mpi_end(int code)
{
    if (!mpi.n_ranks) return;
    if (!mpi.agreed) cli_mpi_agree(code); /* the others wait for it */
    if (mpi.broken) MPI_Abort(MPI_COMM_WORLD, code == CLI_OK ? CLI_FAILURE : code);
    reap(true);
    MPI_Finalize();
    mpi.n_ranks = 0;
}

int cli_mpi_agree(int code)
{
    int all = code;
    if (mpi.n_ranks < 2) return code;
    mpi.agreed = true;
    if (MPI_Allreduce(&code, &all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD)) failed();
    return code != CLI_OK ? code : all;
}

uint32_t cli_mpi_rank(void) { return (uint32_t)mpi.rank; }
uint32_t cli_mpi_ranks(void) { return mpi.n_ranks > 0 ? (uint32_t)mpi.n_ranks : 1; }

const pumice_transport *cli_mpi_transport(void)
{
    static pumice_transport t;
    if (mpi.n_ranks < 2) return NULL;
    t = (pumice_transport){ .struct_size = sizeof t,
                            .rank = (uint32_t)mpi.rank,
                            .n_ranks = (uint32_t)mpi.n_ranks,
                            .send = on_send,
                            .receive = on_receive };
    return &t;
}

#else

int cli_mpi_begin(void)
{
    return cli_usage("this pumice was built without MPI: install Open MPI (Debian: libopenmpi-dev) and "
                     "build it again");
}

void cli_mpi_end(int code) { (void)code; }
int cli_mpi_agree(int code) { return code; }
uint32_t cli_mpi_rank(void) { return 0; }
uint32_t cli_mpi_ranks(void) { return 1; }
const pumice_transport *cli_mpi_transport(void) { return NULL; }

#endif
