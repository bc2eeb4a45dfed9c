// SPDX-License-Identifier: Apache-2.0
// OpSDot of SPV_KHR_integer_dot_product: the products of four signed bytes, summed. The third argument is 0, the format
// PackedVectorFormat4x8Bit. Needs GL_EXT_spirv_intrinsics. Where the hardware has an instruction, it also adds the sum
// to a number.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format);
