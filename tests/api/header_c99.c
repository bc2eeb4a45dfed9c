/* SPDX-License-Identifier: Apache-2.0
 * The public headers alone, as strict C99. */
#include <pumice/pumice.h>
#include <pumice/pumice_profile.h>

int main(void)
{
    pumice_device_params device = { 0 };
    pumice_plan_params plan = { 0 };
    device.struct_size = (uint32_t)sizeof device;
    plan.struct_size = (uint32_t)sizeof plan;
    return pumice_status_name(PUMICE_OK)[0] == 'o' && sizeof(pumice_error) == 512 ? 0 : 1;
}
