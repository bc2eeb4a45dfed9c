/* SPDX-License-Identifier: Apache-2.0
 * A Vulkan loader on top of fault_vk.h's whose devices have subgroups of any size: they say so, and where a kernel of
 * tier sub is to be made, its code with emulated subgroups of that size is made instead (shaders/lib/subgroup.glsl;
 * kernels.toml says of which formats). So lanes, shuffles, partial sums and tails are computed as with such a size;
 * what a driver makes of subgroup operations, and a wish that it does not grant, are not seen. The devices are of no
 * known family and read no texel buffers, so plans are those of a GPU that nobody has measured. State is global:
 * one size at a time. */
#ifndef SUBGROUPS_VK_H
#define SUBGROUPS_VK_H

#include "kernels_spv.h"

/* Generated: the emulated code of a kernel, or no words. Its size of subgroups is to be written into it. */
extern const pum_spirv subgroups_vk_spirv[PUM_KERNEL_COUNT];

/* size: lanes, a power of two. NULL where the system has no loader. */
void *subgroups_vk_loader(uint32_t size);

/* Lanes of the device's own subgroups. lavapipe (Mesa 22.3) computes workgroups that are no multiple of them wrongly
 * where they have barriers, as all do that are emulated. */
uint32_t subgroups_vk_own(void);

/* Pipelines that were given emulated code since the loader was asked for, and those of tier sub that have none and
 * got the device's own subgroups. */
unsigned subgroups_vk_emulated(void);
unsigned subgroups_vk_not_emulated(void);

#endif
