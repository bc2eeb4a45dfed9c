/* SPDX-License-Identifier: Apache-2.0
 * JSON files that come with models. The parsing is jansson's; here are its limits and the sentences
 * of its failures. Thread-safe. */
#ifndef PUM_JSON_H
#define PUM_JSON_H

#include <jansson.h>

#include "base.h"

enum { PUM_JSON_MAX_BYTES = 256 << 20 }; /* of any JSON file of a model */

/* Reads an object; the caller gives it back with json_decref. `name` is used in messages. */
pumice_status pum_json_object_read(const char *path, json_t **out_object, pumice_error *err);
pumice_status pum_json_object_parse(const void *data, size_t bytes, const char *name, json_t **out_object,
                             pumice_error *err);

#endif
