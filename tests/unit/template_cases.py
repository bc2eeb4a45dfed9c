#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates and conversations, and what jinja2 makes of them with the settings of transformers.

template_cases.py         compares template_cases.json with jinja2's answers (skips without jinja2)
template_cases.py --update  writes it anew

The templates are written for this test, in the manner of those that models have."""
import datetime
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STORED = os.path.join(HERE, 'template_cases.json')
NOW = 1700000000

TEMPLATES = {
    # ChatML with a default system prompt
    'chatml': """{%- if messages[0]['role'] != 'system' -%}
<|im_start|>system
You are helpful.<|im_end|>
{% endif -%}
{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>' + '\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
""",
    # Llama 2: the system prompt goes into the first user turn
    'llama2': """{% if messages[0]['role'] == 'system' %}
    {% set rest = messages[1:] %}
    {% set system = messages[0]['content'] %}
{% else %}
    {% set rest = messages %}
    {% set system = false %}
{% endif %}
{% for m in rest %}
    {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate') }}
    {% endif %}
    {% if loop.index0 == 0 and system != false %}
        {% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}
    {% else %}
        {% set content = m['content'] %}
    {% endif %}
    {% if m['role'] == 'user' %}
{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}
    {% elif m['role'] == 'assistant' %}
{{- ' ' ~ content.strip() ~ ' ' ~ eos_token -}}
    {% endif %}
{% endfor %}""",
    # Llama 3: headers, the date, tools
    'llama3': """{{- bos_token }}
{%- if tools is defined and tools is not none %}{%- set has_tools = true %}{%- else %}{%- set has_tools = false %}{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today: " + date_string + "\\n" }}
{%- if has_tools %}
    {{- "Functions:\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    # Mistral: namespace, selectattr
    'mistral': """{%- set ns = namespace(index=0, user=false) %}
{%- set users = messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == "user" %}
{%- set ns.index = ns.index + 1 %}
{%- set ns.user = true %}
{{- "[INST] " + (m.content if m.content is string else m.content | map(attribute='text') | join(' ')) + (" (last)" if m == users[-1] else "") + "[/INST]" }}
{%- elif m.role == "assistant" %}
{{- " " + m["content"] | trim + eos_token }}
{%- endif %}
{%- endfor %}
{#- a comment -#}
   {{- ns.index }}/{{ users | length }} {{ ns.user }}""",
    # Gemma: roles renamed, trimmed
    'gemma': """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}{% set loop_messages = messages[1:] %}{% else %}{% set first = '' %}{% set loop_messages = messages %}{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else "") }}
{%- if message['content'] is string -%}
{{ message['content'] | trim }}
{%- elif message['content'] is iterable -%}
{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}
{%- endif -%}
{{ '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}
""",
    # Phi-3 and Zephyr
    'phi3': """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    'zephyr': """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    # DeepSeek: thinking is cut out of earlier replies
    'deepseek': """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, system='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system}}{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<User>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<Assistant>' + content.lstrip('\\n') + eos_token}}{%- endif %}{%- endfor %}{% if add_generation_prompt %}{{'<Assistant><think>\\n'}}{% endif %}""",
    # Command-R: macros, dict methods
    'commandr': """{%- macro turn(role, content, end="<|END|>") -%}
<|START|><|{{ role | upper }}|>{{ content }}{{ end }}
{%- endmacro -%}
{%- macro params(spec) %}
{%- for name, value in spec.items() -%}
{{ name }}: {{ value.type | default('any') }}{{ ', ' if not loop.last }}
{%- endfor %}
{%- endmacro -%}
{{ bos_token }}
{%- for m in messages -%}
{{ turn({'user': 'user', 'assistant': 'chatbot'}.get(m.role, 'system'), m.content) }}
{%- endfor -%}
{%- if tools -%}
{% for t in tools %}
def {{ t.function.name }}({{ params(t.function.parameters.properties) }}) -> "{{ t.function.description }}"
{% endfor %}
{%- endif %}
{{- turn('chatbot', '', end='') if add_generation_prompt }}""",
    # ChatGLM3 and Granite
    'chatglm3': """{% for message in messages %}{% if loop.first %}[gMASK]sop<|{{ message['role'] }}|>
 {{ message['content'] }}{% else %}<|{{ message['role'] }}|>
 {{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}""",
    'granite': """{%- set system = none %}
{%- for m in messages if m.role == 'system' %}
{%- set system = m.content %}
{%- endfor %}
{%- for m in messages | rejectattr('role', 'eq', 'system') %}
<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>
{% endfor -%}
{{ system is none }}{% if documents %}{{ documents | length }}{% endif %}
{%- for n in range(3) %}{% if n == 1 %}{% continue %}{% endif %}{{ n }}{% endfor %}
{%- for n in range(10) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% else %}never{% endfor %}""",
    # Qwen 3: reversed loops, slices, splits, generation marks
    'qwen3': """{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set reasoning = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- generation %}
        {{- '<|im_start|>' + message.role + '\\n' + ('<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' if loop.index0 > ns.last or reasoning else '') + content + '<|im_end|>\\n' }}
        {%- endgeneration %}
    {%- else %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    # one expression a line
    'expressions': """{{ 1 + 2 * 3 - 4 // 3 % 2 ** 2 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 ** 2 }} {{ 1e3 }} {{ 1.5 * 2 }} {{ 10 / 5 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 123456789.125 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }} {{ 'ab' * 3 }} {{ [1, 2] + [3] }} {{ (1, 'x') }} {{ (1,) }} {{ {'k': [1, {'z': none}], "q'": 'it\\'s'} }}
{{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'äöü€'[1:3] }} {{ [1,2,3,4][:-1] }} {{ [1,2,3,4][-2:] }} {{ [1,2,3][5] is defined }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'cat' }} {{ 'x' not in ['x', 'y'] }} {{ not true or true and false }} {{ 1 if false }}| {{ 'y' if 1 == 1.0 else 'n' }} {{ 'k' in {'k': 1} }}
{{ none is none }} {{ nope is defined }} {{ nope is not defined }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ 'x' is in ['x'] }} {{ [] is sequence }} {{ {} is mapping }} {{ 'A' is upper }} {{ 'a' is lower }} {{ true is boolean }} {{ 1 is integer }} {{ 1.0 is float }} {{ 1 is number }} {{ 'x' is string }} {{ 1 is iterable }} {{ false is false }} {{ 2 is gt 1 }} {{ 1 is eq 1 }} {{ 1 is ne(1) }} {{ range is callable }}
{{ 'Hello World' | upper }} {{ 'Hello' | lower }} {{ 'hello big-world (yes)' | title }} {{ 'hELLO' | capitalize }} {{ '  x ' | trim }}| {{ 'xxaxx' | trim('x') }} {{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a\\nb\\r\\nc'.splitlines() }}
{{ 'title case it\\'s'.title() }} {{ 'x'.join(['1', '2']) }} {{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abcabc'.count('bc') }} {{ 'abc'.replace('b', 'X') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'aaa' | replace('a', 'b') }} {{ 'abc'.startswith(('x', 'ab')) }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ '{} and {1} {x}'.format(1, 2, x=3) if false else '' }}{{ '{} {}'.format(1, 'b') }} {{ '%s-%d' % ('a', 3) }} {{ 'prefix.x'.removeprefix('prefix.') }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A', 'a'] | unique | list }} {{ [1, 2, 3] | sum }} {{ [1, 5, 3] | max }} {{ [1, 5, 3] | min }} {{ [1, 2] | first }} {{ [1, 2] | last }} {{ [1, 2, 3] | reverse | list }} {{ 'abc' | reverse }} {{ 'abc' | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ {'b': 1, 'a': 2} | list }} {{ {'b': 1, 'a': 2} | items | list }} {{ {'b': 1, 'a': 2}.values() | list }} {{ {'a': 1}.get('z', 'none') }}
{{ [1, 2, 3, 4] | select('even') | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [1, none, 2] | select | list }} {{ ['a', 'b'] | map('upper') | join(', ') }} {{ [{'n': {'m': 1}}, {'n': {'m': 2}}] | map(attribute='n.m') | list }} {{ [{'n': 1}, {'n': 2}] | selectattr('n', 'gt', 1) | list }} {{ [{'a': 1}, {}] | selectattr('a') | list }} {{ [{'a': 1}, {}] | map(attribute='a', default='-') | list }} {{ [{'a': 1}, {'b': 1}] | selectattr('a', 'defined') | list | length }}
{{ '3' | int + 1 }} {{ 'x' | int(7) }} {{ '2.5' | float }} {{ 3.7 | int }} {{ 2.5 | round }} {{ 2.567 | round(1) }} {{ 2.1 | round(0, 'ceil') }} {{ -3 | abs }} {{ nope | default('d') }} {{ '' | default('d', true) }} {{ 5 | string ~ '!' }} {{ 'a b c' | wordcount }} {{ '<a href="x">' | e }} {{ 'a\\nb\\n\\nc' | indent }} {{ 'a\\nb' | indent(2, true) }} {{ [1, [2, 'x']] | tojson }} {{ {'a': 'é\\n"', 'b': [1.0, none, true]} | tojson }} {{ {'b': 1, 'a': [1, {}]} | tojson(indent=2) }} {{ [] | tojson }} {{ 'a' | tojson }}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }} {% for a, b in [[1, 2], [3, 4]] %}{{ a }}-{{ b }};{% endfor %}{% for k, v in {'p': 1}.items() %}{{ k }}={{ v }}{% endfor %}{% set p, q = 1, 2 %}{{ p + q }}{% set text %}in {{ p }} block{% endset %}{{ text }}{% set up | upper %}shout{% endset %}{{ up }}{% filter upper %}quiet{% endfilter %}
{% for i in 'ab' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem is defined }}{{ loop.nextitem | default('-') }}{{ loop.cycle('o', 'e') }}{{ loop.depth }} {% endfor %}{% for x in [] %}{% else %}empty{% endfor %}{% for x in [1, 2, 3] if x != 2 %}{{ x }}{{ loop.index }}{% endfor %}
{% macro m(a, b=2, c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{% macro wrap() %}<{{ caller() }}>{% endmacro %}{% call wrap() %}inner{% endcall %}{% raw %}{{ raw }}{% endraw %}{{ "{{" }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {'b': 1}}.a.b }}
{{ "tab\\tq\\"\\u00e9\\x41" }} {{ 'con' 'cat' }} {{ 1_000 }} {{ [1, 2,] }} {{ dict(a=1) }} {{ range(1, 7, 2) | list }} {{ namespace(a=3).a }} {{ true and 'x' or 'y' }} {{ none or 'z' }} {{ [[1, 2], [3]] | map('length') | list }} {{ ('a' if 1 else 'b') | upper }} {{ not 1 == 2 }} {{ -2 | abs }} {{ 'ÄÖ' | lower }} {{ 'straße' | upper if false else 'é' | upper }}""",
    # blanks around tags
    'blanks': "  {% if true %}\n  a\n  {% endif %}  \n\n{%- if true -%}\n  b  \n{%- endif %}\n{% if true +%}\n c\n{%+ if true %}d{% endif %}\n{% endif %}\n\t{# comment #}\n  {#- strip -#}  \n e {{- ' f ' -}} \n g\n  {{ 'h' }}\n  {% set x = 1 -%}   \n  i\n{{ 'j' }}\n{{ 'k' }}  {% if true %} l {% endif %}  m\r\nn\n\n",
}

TOOLS = [{'type': 'function', 'function': {'name': 'weather', 'description': 'Weather of a <city>', 'parameters': {
    'type': 'object', 'properties': {'city': {'type': 'string'}, 'when': {}}, 'required': ['city']}}}]


def user(text): return {'role': 'user', 'content': text}
def bot(text): return {'role': 'assistant', 'content': text}
def system(text): return {'role': 'system', 'content': text}


CONVERSATIONS = {
    'one': {'messages': [user('Hello')], 'add_generation_prompt': True},
    'system': {'messages': [system(' Be brief. '), user(' What is 2+2? \n')], 'add_generation_prompt': True},
    'turns': {'messages': [user('Hi'), bot(' Hello! '), user('你好 "x" <b> & \'y\'')], 'add_generation_prompt': True},
    'done': {'messages': [system('S'), user('a'), bot('<think>\nhm\n</think>\n\nb'), user('c'), bot('d')],
             'add_generation_prompt': False},
    'thinking': {'messages': [user('a'), bot('b'), user('c')], 'add_generation_prompt': True, 'enable_thinking': False},
    'order': {'messages': [user('a'), user('b')], 'add_generation_prompt': True},
    'tools': {'messages': [user('Weather?'),
                           {'role': 'assistant', 'content': '', 'tool_calls': [
                               {'function': {'name': 'weather', 'arguments': {'city': 'Köln', 'days': 2}}}]},
                           {'role': 'tool', 'content': '{"t": 20}'}, user('thanks')],
              'tools': TOOLS, 'add_generation_prompt': True},
    'parts': {'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'one '}, {'type': 'text', 'text': 'two'}]}],
              'add_generation_prompt': True, 'documents': [{'title': 't', 'text': 'x'}]},
    'empty': {'messages': [user('')], 'add_generation_prompt': False},
}


def render(source, variables):
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """{% generation %} as transformers has it: only a mark."""
        tags = {'generation'}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(['name:endgeneration'], drop_needle=True)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters['tojson'] = tojson
    env.globals['raise_exception'] = raise_exception
    env.globals['strftime_now'] = lambda f: datetime.datetime.utcfromtimestamp(NOW).strftime(f)
    try:
        return {'output': env.from_string(source).render(**variables)}
    except Exception:  # what is refused there must be refused here
        return {'fails': True}


def cases():
    for name, source in TEMPLATES.items():
        for talk, variables in CONVERSATIONS.items():
            if name in ('expressions', 'blanks') and talk != 'one':
                continue
            variables = {**variables, 'bos_token': '<s>', 'eos_token': '</s>'}
            yield {'template': name, 'conversation': talk, **render(source, variables)}


def main():
    try:
        import jinja2
    except ImportError:
        print('skipped: no jinja2 here (Debian: python3-jinja2)')
        return 77
    now = list(cases())
    if '--update' in sys.argv:
        with open(STORED, 'w', encoding='utf-8') as f:
            json.dump({'now': NOW, 'templates': TEMPLATES, 'conversations': CONVERSATIONS, 'cases': now}, f,
                      ensure_ascii=False, indent=1)
            f.write('\n')
        print(len(now), 'cases,', sum('fails' in c for c in now), 'of them refused')
        return 0
    with open(STORED, encoding='utf-8') as f:
        stored = json.load(f)['cases']
    wrong = [c['template'] + '/' + c['conversation'] for c, s in zip(now, stored) if c != s]
    print(f'{len(now)} cases with jinja2 {jinja2.__version__}, {len(wrong)} differ', *wrong)
    return 1 if wrong or len(now) != len(stored) else 0


if __name__ == '__main__':
    sys.exit(main())
