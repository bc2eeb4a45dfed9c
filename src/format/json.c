/* SPDX-License-Identifier: Apache-2.0
 * JSON files of models: read whole, an object at the top, no key twice. jansson limits the depth. */
#include "json.h"

pumice_status pum_json_object_parse(const void *data, size_t bytes, const char *name, json_t **out_object,
                             pumice_error *err)
{
    json_error_t at;
    *out_object = NULL;
    json_t *object = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &at);
    if (!object && json_error_code(&at) == json_error_out_of_memory) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to read '%s'", name);
    }
    if (!object) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' is no valid JSON: line %d: %s", name,
                        at.line, at.text);
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' holds no JSON object", name);
    }
    *out_object = object;
    return PUMICE_OK;
}

pumice_status pum_json_object_read(const char *path, json_t **out_object, pumice_error *err)
{
    uint8_t *data;
    size_t bytes;
    *out_object = NULL;
    PUM_TRY(pum_file_read(path, PUM_JSON_MAX_BYTES, &data, &bytes, err));
    pumice_status status = pum_json_object_parse(data, bytes, path, out_object, err);
    pum_free(data);
    return status;
}
