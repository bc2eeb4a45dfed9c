/* SPDX-License-Identifier: Apache-2.0
 * Pipelines of a session to come, made while its model's weights are on their way to the device. */
#ifndef PUM_WARM_H
#define PUM_WARM_H

#include "session.h"
#include "task.h"

typedef struct pum_warm {
    pum_task task;
    const pumice_model *model;
    pumice_session_params params;
    pum_sampler sampler;
    atomic_int stop;
} pum_warm;

/* Begins, if `params` is given (NULL = nothing to do); with the kernels of `sampling`, which may be
 * NULL. The model's definition and first placement must not change until the end. A failure shows when the
 * session makes what is missing. */
void pum_warm_begin(pum_warm *warm, const pumice_model *model, const pumice_session_params *params,
                    const pumice_sampling *sampling);
/* Waits for it; with `cancel` only for the pipelines that are being made. */
void pum_warm_end(pum_warm *warm, bool cancel);

#endif
