"""The page at /docs: the OpenAPI document, readable, with nothing fetched from elsewhere."""

REFERENCE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Modelworks API</title>
<style>
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--blue:#2563eb;--green:#15803d}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:2rem 0 .5rem;text-transform:capitalize}
details{border:1px solid var(--line);border-radius:8px;margin:.4rem 0;padding:.5rem .8rem}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
b{font:600 .75rem ui-monospace,monospace;color:#fff;background:var(--green);border-radius:4px;padding:.1rem .4rem}
b.post{background:var(--blue)}code,pre{font:13px ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;border-radius:6px;overflow:auto}summary span{opacity:.75}
</style>
<h1>Modelworks API</h1>
<p>Also as <a href="/openapi.json">OpenAPI</a>. The console is <a href="/">here</a>.</p><main>Loading...</main>
<script>
const el=(tag,text,cls)=>{const e=document.createElement(tag);if(text!==undefined)e.textContent=text;if(cls)e.className=cls;return e}
const deref=(doc,s)=>s&&s.$ref?doc.components.schemas[s.$ref.split('/').pop()]:s
fetch('/openapi.json').then(r=>r.json()).then(doc=>{
 const main=document.querySelector('main');main.textContent='';const groups={}
 for(const[path,methods]of Object.entries(doc.paths))for(const[method,op]of Object.entries(methods))
  (groups[(op.tags||['other'])[0]]??=[]).push([path,method,op])
 for(const tag of['predict','open inference protocol','data','factory']){if(!groups[tag])continue
  main.append(el('h2',tag))
  for(const[path,method,op]of groups[tag]){
   const d=el('details'),s=el('summary');s.append(el('b',method.toUpperCase(),method),el('code',path),el('span',op.summary||''))
   d.append(s);if(op.description)d.append(el('p',op.description))
   for(const p of op.parameters||[])d.append(el('p',`${p.name}${p.required?' (needed)':''}: ${p.schema?.type||(p.schema?.anyOf||[]).map(x=>x.type).join(' or ')}`))
   const body=op.requestBody?.content['application/json']
   if(body){const shown=body.example||deref(doc,body.schema)?.properties||{};d.append(el('p','Body'),el('pre',JSON.stringify(shown,null,2)))}
   const answer=op.responses?.['200']?.content?.['application/json']?.example
   if(answer)d.append(el('p','Answer'),el('pre',JSON.stringify(answer,null,2)))
   main.append(d)}}
}).catch(e=>{document.querySelector('main').textContent='The API does not answer: '+e})
</script></html>"""
