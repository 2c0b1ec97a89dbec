// Rollouts: what is on its way, what was seen of both sides, and the two ways to end it.
async function post(path,body){
 const r=await fetch(path,{method:'POST',headers:{'content-type':'application/json',...(token()?{authorization:'Bearer '+token()}:{})},body:JSON.stringify(body)})
 const told=await r.json();if(!r.ok)throw new Error(told.error?[told.error.what,told.error.why,told.error.fix].filter(Boolean).join('; '):r.statusText);return told}
function rolloutButtons(r){
 const act=(text,path,title)=>el('button',{title,onclick:async()=>{
  if(!confirm(`${text}: ${r.ref}?`))return
  try{await post(path,{ref:r.ref,reason:'in the console'})}catch(e){alert(e.message)}
  draw()}},text)
 return r.status==='running'?el('span',{className:'acts'},act('Promote','/api/promote','Make it the champion now'),' ',act('Roll back','/api/rollback','Take it out; the champion answers all requests')):''}
function rolloutsSection(rows,title='Rollouts'){
 if(!rows.length)return null
 const side=(r,f)=>['challenger','champion'].map(s=>r.evidence[s]?f(r.evidence[s]):'-').join(' / ')
 return section(title,table(['challenger','','against#','how','share#','rows#','failed#~','outcomes#~','loss#','because','since~'],rows.map(r=>[
  el('a',{href:'#'+encodeURIComponent(r.ref)},r.ref),el('div',{},el('div',{},tag(r.status,{promoted:'promote',abandoned:'refuse'}[r.status]||'warning')),rolloutButtons(r)),r.champion,r.strategy.kind.replace('_','-'),`${Math.round(r.share*1000)/10} %${r.silent&&r.status==='running'?' silently':''}`,
  side(r,s=>num(s.rows)),num(r.evidence.challenger?r.evidence.challenger.failed+r.evidence.challenger.rejected:0),side(r,s=>num(s.outcomes)),side(r,s=>s.loss===null?'-':score(s.loss)),
  r.reason,when(r.ended||r.since)])))}
