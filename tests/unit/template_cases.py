#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates and conversations, and what jinja2 makes of them with the settings of transformers.

template_cases.py         compares template_cases.json with jinja2's answers (skips without jinja2)
template_cases.py --update  writes it anew

The templates (templates/*.jinja) are written for this test, in the manner of those that models have."""
import datetime
import glob
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STORED = os.path.join(HERE, 'template_cases.json')
NOW = 1700000000

def read(path):
    with open(path, encoding='utf-8', newline='') as f:
        return f.read()


TEMPLATES = {os.path.basename(path)[:-6]: read(path)
             for path in sorted(glob.glob(os.path.join(HERE, 'templates', '*.jinja')))}

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
    'parts': {'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'one '},
                                                        {'type': 'text', 'text': 'two'}]}],
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
